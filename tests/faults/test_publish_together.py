"""Versions that are published at the same time do not get in each other's way."""

import os
import threading

import pytest

from honeykeras.errors import InvalidArgumentError, StorageError
from honeykeras.export import publish as publishing
from honeykeras.export.publish import check_version, new_version

fcntl = pytest.importorskip("fcntl")

EXPORTS = 8


def publish(base, together=lambda: None, **options):
    with new_version(base, **options) as folder:
        folder.scratch.mkdir()
        (folder.scratch / "saved_model.pb").write_text(str(folder.path))
        together()
    return folder.path


def test_each_export_gets_a_version_of_its_own(tmp_path):
    """All of them have begun before one of them ends."""
    base, barrier, outcomes = tmp_path / "serving" / "mnist", threading.Barrier(EXPORTS, timeout=60), []

    def run():
        try:
            outcomes.append(publish(base, barrier.wait).name)
        except Exception as error:
            outcomes.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(EXPORTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [str(number) for number in range(1, EXPORTS + 1)]
    assert sorted(os.listdir(base)) == sorted(outcomes)
    assert all((base / name / "saved_model.pb").read_text() == str(base / name) for name in outcomes)


def test_one_at_a_time_chooses_a_number_and_all_build(tmp_path, monkeypatch):
    """Without a lock, two could choose the same one; if it lasted, exports would wait for each other."""
    choose, free = publishing._next_version, {}

    def is_free():
        descriptor = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def watch(base):
        free["choosing"] = is_free()
        return choose(base)

    monkeypatch.setattr(publishing, "_next_version", watch)
    publish(tmp_path, lambda: free.update(building=is_free()))
    assert free == {"choosing": False, "building": True}


def test_number_of_a_version_that_is_being_made_is_passed_over(tmp_path):
    with new_version(tmp_path, 7) as folder:
        folder.scratch.mkdir()
        assert publish(tmp_path).name == "8"
    assert sorted(os.listdir(tmp_path)) == ["7", "8"]


def test_number_of_one_that_failed_is_free_again(tmp_path):
    def fail():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        publish(tmp_path, fail)
    assert publish(tmp_path).name == "1"


class TestExistingVersion:
    def test_is_refused_before_anything_is_built(self, tmp_path):
        publish(tmp_path, version=3)
        with pytest.raises(StorageError, match="3 already exists"):
            publish(tmp_path, lambda: pytest.fail("it was built"), version=3)
        assert os.listdir(tmp_path) == ["3"]

    def test_can_be_told_in_advance(self, tmp_path):
        publish(tmp_path, version=3)
        check_version(tmp_path, 4)
        check_version(tmp_path, None)
        check_version(tmp_path / "new", 3)
        with pytest.raises(StorageError, match="3 already exists"):
            check_version(tmp_path, 3)
        assert os.listdir(tmp_path) == ["3"]

    @pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, 2**63])
    def test_must_be_a_number_that_a_server_reads(self, version, tmp_path):
        with pytest.raises(InvalidArgumentError, match="`version` must be a whole number"):
            publish(tmp_path, version=version)
