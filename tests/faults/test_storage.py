"""Disks that refuse: what was there before stays, nothing half-written does, and one `StorageError` says why."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import warnings

import keras
import pytest

import honeykeras as hk
from honeykeras import export
from honeykeras._files import staged
from honeykeras.cli.main import run
from honeykeras.errors import StorageError

posix = pytest.mark.skipif(os.name != "posix", reason="limits and signals are POSIX's")

REPORT = {"figures": list(range(5000))}


def snapshot(folder):
    """Everything below a folder: a hash of each file, None for a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in folder.rglob("*")
    }


def save_key(path, **options):
    hk.WatermarkKey.generate((6, 6, 1), 4).save(path, **options)


def save_report(path, **options):
    hk.report.write(path, REPORT, **options)


def save_model(path, **options):
    hk.models.save(keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)]), path, **options)


def stage_folder(path, **options):
    with staged(path, holds=["part"], **options) as scratch:
        scratch.mkdir()
        (scratch / "part").write_bytes(b"new")


def run_python(script, *arguments):
    """Runs a script in a process of its own."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


WRITERS = {"a.key": save_key, "report.json": save_report, "model.keras": save_model, "folder": stage_folder}
writers = pytest.mark.parametrize(("name", "save"), WRITERS.items(), ids=WRITERS)


# The kernel itself refuses to make a file longer than a limit, as it refuses on a full disk: in the middle of a
# write, to Python, HDF5 and TensorFlow's C++ alike. The limit cannot be lifted again, so a process of its own
# goes through all the cases.
REFUSED = """
import hashlib, json, pathlib, resource, signal, sys
import keras
import honeykeras as hk
from honeykeras import export

def snapshot(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in folder.rglob("*")
    }

root = pathlib.Path(sys.argv[1])
key = hk.WatermarkKey.generate((6, 6, 1), 4)
report = {"figures": list(range(5000))}
small = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
large = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5000), keras.layers.Dense(4)])
save = {
    "key": lambda folder: key.save(folder / "file", overwrite=True),
    "report": lambda folder: hk.report.write(folder / "file", report, overwrite=True),
    "small model": lambda folder: hk.models.save(small, folder / "file.keras", overwrite=True),
    "large model": lambda folder: hk.models.save(large, folder / "file.keras", overwrite=True),
    "small export": lambda folder: export.save(small, folder),
    "large export": lambda folder: export.save(large, folder),
}
for name in save:
    (root / name / "new").mkdir(parents=True)
    (root / name / "old").mkdir()
    save[name](root / name / "old")

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
results = {}
for limit in (10_000, 100):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for name in save:
        for state in ("new", "old"):
            if name == "key" and limit > 100:
                continue  # It is short enough.
            folder = root / name / state
            result = {"before": snapshot(folder), "error": None}
            try:
                save[name](folder)
            except Exception as error:
                result |= {"error": type(error).__name__, "message": str(error)}
            results[f"{name}, {state}, {limit}"] = {**result, "after": snapshot(folder)}
print(json.dumps(results))
"""

REFUSED_CASES = [
    f"{name}, {state}, {limit}"
    for name in ("key", "report", "small model", "large model", "small export", "large export")
    for state in ("new", "old")
    for limit in (10_000, 100)
    if (name, limit) != ("key", 10_000)
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("refused")


@pytest.fixture(scope="module")
def results(root):
    done = run_python(REFUSED, root)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@posix
class TestKernelRefuses:
    def test_every_case_was_tried(self, results):
        assert sorted(results) == sorted(REFUSED_CASES)

    @pytest.mark.parametrize("case", REFUSED_CASES)
    def test_one_storage_error_gives_the_reason(self, results, root, case):
        name, state, _ = case.split(", ")
        assert results[case]["error"] == "StorageError"
        assert results[case]["message"].startswith(f"Cannot write {root / name / state}/")
        assert "File too large" in results[case]["message"]
        assert len(results[case]["message"].splitlines()) == 1

    @pytest.mark.parametrize("case", REFUSED_CASES)
    def test_nothing_half_written_is_left_and_the_old_is_intact(self, results, case):
        assert bool(results[case]["before"]) == ("old" in case)
        assert results[case]["after"] == results[case]["before"]

    @pytest.mark.parametrize("name", ["small model", "large model"])
    def test_the_old_model_still_loads(self, results, root, name):
        assert hk.models.load(root / name / "old" / "file.keras").output_shape == (None, 4)


class TestDiskIsFull:
    """Simulated where a full disk shows up last: when what was written is to reach it."""

    @pytest.fixture
    def full(self, monkeypatch):
        def fsync(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)

    @writers
    def test_nothing_is_left(self, name, save, tmp_path, full):
        with pytest.raises(StorageError, match=rf"Cannot write .*{name}: No space left on device.* Make room"):
            save(tmp_path / name)
        assert not snapshot(tmp_path)

    @writers
    def test_the_old_is_intact(self, name, save, tmp_path, monkeypatch, request):
        save(tmp_path / name)
        before = snapshot(tmp_path)
        request.getfixturevalue("full")
        with pytest.raises(StorageError, match="No space left on device"):
            save(tmp_path / name, overwrite=True)
        assert snapshot(tmp_path) == before

    def test_export_leaves_no_version(self, tmp_path, full):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
        with pytest.raises(StorageError, match=r"Cannot write .*1: No space left on device"):
            export.save(model, tmp_path)
        assert not snapshot(tmp_path)


class TestParentIsAFile:
    """Stands for all folders that cannot be written to: permissions do not hold for root, who may run this."""

    @pytest.mark.parametrize("between", ["", "folder"])
    @writers
    def test_is_one_storage_error(self, name, save, between, tmp_path):
        (tmp_path / "file").write_bytes(b"not a folder")
        before = snapshot(tmp_path)
        with pytest.raises(StorageError, match=f"Cannot write .*{name}: "):
            save(tmp_path / "file" / between / name)
        assert snapshot(tmp_path) == before

    @pytest.mark.parametrize("between", ["", "folder"])
    def test_export(self, between, tmp_path):
        (tmp_path / "file").write_bytes(b"not a folder")
        before = snapshot(tmp_path)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
        with pytest.raises(StorageError, match="Cannot write"):
            export.save(model, tmp_path / "file" / between)
        assert snapshot(tmp_path) == before


def put(path, kind, content):
    """Makes a file, or a folder with a file in it."""
    if kind == "folder":
        path.mkdir()
        path = path / "part"
    path.write_bytes(content)


def stage(target, kind, *, overwrite=False, then=lambda: None):
    """Stages new content of a kind; `then` happens in the block, after it is written."""
    with staged(target, overwrite=overwrite, holds=["part"] if kind == "folder" else None) as scratch:
        put(scratch, kind, b"new")
        then()


def content(target):
    """What `put` put there."""
    return (target / "part" if target.is_dir() else target).read_bytes()


kinds = pytest.mark.parametrize("kind", ["file", "folder"])


class TestStaged:
    @pytest.fixture
    def target(self, tmp_path):
        return tmp_path / "target"

    @pytest.mark.parametrize("overwrite", [True, False])
    @kinds
    def test_appears_when_the_block_ends_well(self, kind, overwrite, target):
        """The control of what follows: not before, and nothing beside it."""
        stage(target, kind, overwrite=overwrite, then=lambda: pytest.fail("too early") if target.exists() else None)
        assert os.listdir(target.parent) == ["target"]
        assert content(target) == b"new"

    @kinds
    def test_replaces_the_old_on_request(self, kind, target):
        put(target, kind, b"old")
        stage(target, kind, overwrite=True)
        assert os.listdir(target.parent) == ["target"]
        assert content(target) == b"new"

    @kinds
    def test_never_replaces_one_kind_by_the_other(self, kind, target):
        """That would be a slip, of much that is lost."""
        put(target, "folder" if kind == "file" else "file", b"old")
        before = snapshot(target.parent)
        with pytest.raises(StorageError, match=f"is not replaced by a {kind}"):
            stage(target, kind, overwrite=True)
        assert snapshot(target.parent) == before

    def test_never_replaces_a_folder_that_holds_something_else(self, target):
        put(target, "folder", b"old")
        (target / "thesis.tex").touch()
        before = snapshot(target.parent)
        with pytest.raises(StorageError, match=r"holds what would be lost, thesis.tex for one"):
            stage(target, "folder", overwrite=True)
        assert snapshot(target.parent) == before

    @pytest.mark.parametrize(
        ("failure", "raised"),
        [
            (RuntimeError("a bug"), RuntimeError),
            (KeyboardInterrupt(), KeyboardInterrupt),
            (OSError(errno.EIO, os.strerror(errno.EIO)), StorageError),
            (StorageError("already said"), StorageError),
        ],
        ids=["bug", "interrupt", "disk", "storage-error"],
    )
    class TestBlockFails:
        @pytest.fixture
        def fail(self, failure):
            def fail():
                raise failure

            return fail

        @pytest.mark.parametrize("overwrite", [True, False])
        @kinds
        def test_nothing_is_left(self, kind, overwrite, raised, fail, target):
            with pytest.raises(raised):
                stage(target, kind, overwrite=overwrite, then=fail)
            assert not snapshot(target.parent)

        @kinds
        def test_the_old_is_intact(self, kind, raised, fail, target):
            put(target, kind, b"old")
            before = snapshot(target.parent)
            with pytest.raises(raised):
                stage(target, kind, overwrite=True, then=fail)
            assert snapshot(target.parent) == before

    @kinds
    def test_existing_target_is_refused_before_any_work(self, kind, target):
        put(target, kind, b"old")
        before = snapshot(target.parent)
        with pytest.raises(StorageError, match="already exists"):
            stage(target, kind, then=lambda: pytest.fail("the block was entered"))
        assert snapshot(target.parent) == before

    @pytest.mark.parametrize("late", ["file", "folder"])
    @kinds
    def test_target_that_appears_meanwhile_is_not_replaced(self, kind, late, target):
        with pytest.raises(StorageError):
            stage(target, kind, then=lambda: put(target, late, b"somebody else's"))
        assert os.listdir(target.parent) == ["target"]
        assert content(target) == b"somebody else's"

    def test_link_that_leads_nowhere_is_not_written_through(self, target):
        target.symlink_to(target.parent / "elsewhere")
        with pytest.raises(StorageError, match="already exists"):
            stage(target, "file", then=lambda: pytest.fail("the block was entered"))
        assert os.listdir(target.parent) == ["target"]

    @pytest.mark.parametrize("failing", [1, 2])
    def test_move_that_fails_puts_the_old_folder_back(self, failing, target, monkeypatch):
        """The old folder goes aside in a first rename; the new one comes in a second."""
        put(target, "folder", b"old")
        before = snapshot(target.parent)
        really_rename, renames = os.rename, []

        def rename(source, destination):
            renames.append((source, destination))
            if len(renames) == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            really_rename(source, destination)

        monkeypatch.setattr(os, "rename", rename)
        with pytest.raises(StorageError, match="Nothing was changed there"):
            stage(target, "folder", overwrite=True)
        assert len(renames) >= failing
        assert snapshot(target.parent) == before


# It imports no TensorFlow, so that it starts at once.
KILLED = """
import os, pathlib, signal, sys
from honeykeras._files import staged

target, kind, overwrite = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "True"
with staged(target, overwrite=overwrite, holds=["part", "complete"] if kind == "folder" else None) as scratch:
    if kind == "folder":
        scratch.mkdir()
        (scratch / "complete").write_bytes(b"new")
    with open(scratch / "part" if kind == "folder" else scratch, "wb") as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""


@posix
def test_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    """Some file systems cannot. By then the file is in place, and an error would say that it is not."""
    sync = os.fsync

    def fail_on_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_on_folders)
    save_key(tmp_path / "a.key")
    assert sorted(os.listdir(tmp_path)) == ["a.key"]
    hk.WatermarkKey.load(tmp_path / "a.key")


def test_old_folder_is_kept_if_it_cannot_be_put_back(tmp_path, monkeypatch):
    """Whatever else goes wrong, it is not thrown away."""
    target = tmp_path / "folder"
    target.mkdir()
    (target / "part").write_bytes(b"old")
    rename, calls = os.rename, []

    def fail_after_the_first(source, destination):
        calls.append(source)
        if len(calls) > 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(source, destination)

    monkeypatch.setattr(os, "rename", fail_after_the_first)
    with pytest.raises(StorageError, match="Input/output error"):
        stage_folder(target, overwrite=True)
    assert [path.read_bytes() for path in tmp_path.rglob("replaced/folder/part")] == [b"old"]
    # The next one puts it back.
    monkeypatch.undo()
    save_key(tmp_path / "a.key")
    assert sorted(os.listdir(tmp_path)) == ["a.key", "folder"]
    assert (target / "part").read_bytes() == b"old"


@pytest.mark.parametrize("save", WRITERS.values(), ids=WRITERS)
def test_name_that_is_too_long(tmp_path, save):
    with pytest.raises(StorageError, match="Cannot write"):
        save(tmp_path / f"{'x' * 300}.keras")
    assert os.listdir(tmp_path) == []


class TestKilled:
    @pytest.mark.parametrize("overwrite", [True, False])
    @kinds
    def test_in_the_block_leaves_the_target_as_it_was(self, kind, overwrite, tmp_path):
        """What is left has a name that starts with a dot, which TensorFlow Serving passes over."""
        target = tmp_path / "7"
        if overwrite:
            put(target, kind, b"old")
        before = snapshot(tmp_path)
        assert run_python(KILLED, target, kind, overwrite).returncode == -signal.SIGKILL
        after = snapshot(tmp_path)
        left = after.keys() - before.keys()
        assert left, "the process was killed before it began"
        assert all(name.startswith(".") for name in left)
        assert {name: after[name] for name in before} == before
        # Nor does what is left stand in the way.
        stage(target, kind, overwrite=overwrite)
        assert content(target) == b"new"


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def own_warnings(self, monkeypatch):
        """The command line shows warnings its own way, for as long as its process lives."""
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def keygen(self, path, *options):
        return run(["keygen", str(path), "--input-shape", "6,6,1", "--num-classes", "4", *options])

    def test_success_is_status_0(self, tmp_path, capsys):
        """The control of what follows."""
        assert self.keygen(tmp_path / "a.key") == 0
        assert capsys.readouterr().err == ""
        assert hk.WatermarkKey.load(tmp_path / "a.key").input_shape == (6, 6, 1)

    @pytest.mark.parametrize("options", [(), ("--overwrite",)])
    def test_full_disk_is_status_2_and_one_line(self, options, tmp_path, capsys, monkeypatch):
        path = tmp_path / "a.key"
        if options:
            save_key(path)
        before = snapshot(tmp_path)

        def fsync(descriptor):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)
        assert self.keygen(path, *options) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"honeykeras: error: Cannot write {path}: No space left on device.")
        assert len(shown.err.splitlines()) == 1
        assert snapshot(tmp_path) == before

    def test_existing_key_is_status_2_and_one_line(self, tmp_path, capsys):
        path = tmp_path / "a.key"
        save_key(path)
        before = snapshot(tmp_path)
        assert self.keygen(path) == 2
        shown = capsys.readouterr()
        assert shown.err.startswith(f"honeykeras: error: {path} already exists and is left as it is.")
        assert len(shown.err.splitlines()) == 1
        assert snapshot(tmp_path) == before
