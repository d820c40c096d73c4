"""Crafting that is killed, or that the disk refuses: what is there stays, and the same call goes on from there."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import honeykeras as hk
from honeykeras.attacks import PGD
from honeykeras.attacks.craft import craft
from honeykeras.attacks.shards import Shards
from honeykeras.errors import StorageError

posix = pytest.mark.skipif(os.name != "posix", reason="limits and signals are POSIX's")
formats = pytest.mark.parametrize("file_format", ["npz", "tfrecord"])

SHARDS, SHARD_SIZE = 30, 5

# Kills itself in the middle of its nth file, if n is given.
CRAFT = f"""
import os, signal, sys
import honeykeras as hk
from honeykeras.attacks import PGD
from honeykeras.attacks.craft import craft

model, folder, file_format, fatal = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
fsync, files = os.fsync, []

def sync_or_die(descriptor):
    name = os.readlink(f"/proc/self/fd/{{descriptor}}")
    files.extend([name] if ".staged." in name else [])
    if len(files) == fatal:
        os.truncate(name, os.path.getsize(name) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)

if fatal:
    os.fsync = sync_or_die
dataset = hk.data.load("digits").test.dataset().take({SHARDS * SHARD_SIZE})
craft(hk.models.load(model), PGD(0.2, steps=3), dataset, folder, file_format=file_format, shard_size={SHARD_SIZE})
"""


@pytest.fixture
def dataset(digits):
    return digits.test.dataset().take(SHARDS * SHARD_SIZE)


@pytest.fixture
def start(classifier, tmp_path):
    """Starts crafting in a process of its own."""
    hk.models.save(classifier, tmp_path / "model.keras")
    started = []

    def start(file_format, fatal=0):
        command = [sys.executable, "-c", CRAFT, tmp_path / "model.keras", tmp_path / "folder", file_format, str(fatal)]
        with open(tmp_path / "log", "wb") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def identities(folder):
    """Which files the shards of a folder are."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("shard-*")}


def assert_goes_on(classifier, dataset, folder, file_format):
    """Continues a folder: to the result of one go, from where it stood."""
    left, attack, starts = identities(folder), PGD(0.2, steps=3), []
    generate = attack.generate
    attack.generate = lambda *arguments, first, **options: (
        starts.append(first) or generate(*arguments, first=first, **options)
    )
    continued = craft(
        classifier, attack, dataset, folder, file_format=file_format, shard_size=SHARD_SIZE, verbose=0
    ).load()
    assert starts == [SHARD_SIZE * number for number in range(len(left), SHARDS)]
    after = identities(folder)
    assert {name: after[name] for name in left} == left
    assert sorted(os.listdir(folder)) == ["craft.json", *sorted(after)]
    x, y = next(dataset.batch(SHARDS * SHARD_SIZE).as_numpy_iterator())
    whole = generate(classifier, x, y).quantize(classifier)
    assert np.array_equal(continued.x, x)
    # Batches of other sizes round otherwise.
    assert np.mean(continued.x_adv != whole.x_adv) < 0.005
    assert np.mean(continued.success != whole.success) < 0.02


@posix
class TestKilled:
    def test_at_any_moment(self, start, classifier, dataset, tmp_path):
        folder, process = tmp_path / "folder", start("npz")
        while len(identities(folder)) < 2:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        left = len(identities(folder))
        assert 2 <= left < SHARDS
        with pytest.raises(StorageError, match="is not finished"):
            Shards.open(folder)
        assert_goes_on(classifier, dataset, folder, "npz")

    # The settings are the first file, and after each shard its hash is written into them.
    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    @pytest.mark.parametrize(("fatal", "cut_off", "recorded"), [(6, "shard-00002.tfrecord", 2), (5, "craft.json", 1)])
    def test_in_the_middle_of_a_file(self, fatal, cut_off, recorded, start, classifier, dataset, tmp_path):
        folder = tmp_path / "folder"
        assert start("tfrecord", fatal).wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
        assert len(list(folder.glob(f".staged.*/new/{cut_off}"))) == 1
        assert sorted(identities(folder)) == ["shard-00000.tfrecord", "shard-00001.tfrecord"]
        assert len(json.loads((folder / "craft.json").read_bytes())["shards"]) == recorded
        assert_goes_on(classifier, dataset, folder, "tfrecord")


class TestDiskRefuses:
    @pytest.fixture
    def run(self, classifier, dataset, tmp_path):
        def run(file_format):
            attack = PGD(0.2, steps=3)
            return craft(
                classifier,
                attack,
                dataset.take(20),
                tmp_path / "folder",
                file_format=file_format,
                shard_size=10,
                verbose=0,
            )

        return run

    @posix
    @formats
    def test_file_too_large(self, file_format, run, tmp_path):
        """The kernel refuses in the middle of a shard, to NumPy and to TensorFlow's C++ alike."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        try:
            with pytest.raises(StorageError) as raised:
                run(file_format)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        shard = tmp_path / "folder" / f"shard-00000.{file_format}"
        assert str(raised.value) == (
            f"Cannot write {shard}: File too large. Nothing was changed there. Make room or choose another place."
        )
        assert os.listdir(tmp_path / "folder") == ["craft.json"]
        assert len(run(file_format)) == 20

    def test_shards_that_were_made_are_kept(self, run, tmp_path, monkeypatch):
        fsync, calls = os.fsync, []

        def fill_up(descriptor):
            calls.append(descriptor)
            # Two each, of a file and its folder, for the settings, the first shard and its hash.
            if len(calls) > 6:
                raise OSError(28, os.strerror(28))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fill_up)
        with pytest.raises(StorageError, match=r"Cannot write .*shard-00001.npz: No space left on device"):
            run("npz")
        monkeypatch.undo()
        left = identities(tmp_path / "folder")
        assert list(left) == ["shard-00000.npz"]
        assert "examples" not in json.loads((tmp_path / "folder" / "craft.json").read_bytes())
        assert len(run("npz")) == 20
        assert identities(tmp_path / "folder")["shard-00000.npz"] == left["shard-00000.npz"]

    def test_parent_is_a_file(self, classifier, dataset, tmp_path):
        (tmp_path / "file").write_bytes(b"not a folder")
        with pytest.raises(StorageError, match=r"Cannot write .*craft.json: "):
            craft(classifier, PGD(0.2, steps=3), dataset, tmp_path / "file" / "folder", verbose=0)
        assert os.listdir(tmp_path) == ["file"]
