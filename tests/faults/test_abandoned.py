"""What a process that was killed leaves is removed by the next one, and nothing that belongs to one that lives.

The processes here import no TensorFlow, so that they start at once.
"""

import errno
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading

import pytest

from honeykeras import _scratch
from honeykeras._files import staged, write_atomic
from honeykeras.errors import StorageError

fcntl = pytest.importorskip("fcntl")

# Makes a run as `quickstart` does, with a key in it, says so, and waits to be told to go on.
RUN = """
import sys
from honeykeras import keyfile
from honeykeras._files import staged

with staged(sys.argv[1], overwrite=True, holds=["watermark.key"]) as run:
    run.mkdir()
    keyfile.write(run / "watermark.key", {}, bytes(range(32)), None)
    print("ready", flush=True)
    input()
"""

# Replaces a folder in children that kill themselves before one step after the other, each; the last gets to the end.
# Each has a folder of its own.
STEPS = ("fsync", "rename", "mkdir", "open", "unlink", "rmdir", "link", "replace")
REPLACE = f"""
import os, pathlib, signal, sys
from honeykeras._files import staged

def replace(target, fatal):
    steps = 0
    def step(function):
        def run(*arguments, **options):
            nonlocal steps
            if steps == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1
            return function(*arguments, **options)
        return run
    for name in {STEPS}:
        setattr(os, name, step(getattr(os, name)))
    with staged(target, overwrite=True, holds=["part", "other"]) as scratch:
        scratch.mkdir()
        for name in ("part", "other"):
            (scratch / name).write_bytes(b"new")

base, fatal, killed = pathlib.Path(sys.argv[1]), 0, True
while killed:
    target = base / str(fatal) / "run"
    target.mkdir(parents=True)
    for name in ("part", "other"):
        (target / name).write_bytes(b"old")
    child = os.fork()
    if child == 0:
        replace(target, fatal)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    fatal += 1
"""


@pytest.fixture
def start():
    """Starts a process that makes a run, and returns once it is in the middle of it."""
    started = []

    def start(target):
        process = subprocess.Popen([sys.executable, "-c", RUN, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def killed(start):
    """What a process that was killed in the middle of a run has left of it."""

    def killed(target):
        before = set(target.parent.glob(".staged.*"))
        process = start(target)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        (left,) = set(target.parent.glob(".staged.*")) - before
        return left

    return killed


def keys_in(folder):
    return list(folder.rglob("watermark.key"))


class TestKilled:
    def test_keys_are_removed_by_the_next_run(self, killed, tmp_path):
        left = killed(tmp_path / "run")
        assert len(keys_in(left)) == 1
        with staged(tmp_path / "other") as scratch:
            assert not keys_in(tmp_path)
            scratch.mkdir()
        assert os.listdir(tmp_path) == ["other"]

    def test_nobody_else_could_read_them_meanwhile(self, killed, tmp_path):
        left = killed(tmp_path / "run")
        assert stat.S_IMODE(left.stat().st_mode) == 0o700

    def test_removed_even_if_the_next_run_is_refused(self, killed, tmp_path):
        killed(tmp_path / "run")
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="already exists"):
            write_atomic(tmp_path / "file", b"")
        assert os.listdir(tmp_path) == ["file"]

    def test_run_that_is_being_made_stays(self, start, killed, tmp_path):
        living = start(tmp_path / "living")
        (folder,) = tmp_path.glob(".staged.*")
        dead = killed(tmp_path / "dead")
        write_atomic(tmp_path / "file", b"")
        assert not dead.exists()
        assert len(keys_in(folder)) == 1
        living.communicate(b"\n")
        assert living.returncode == 0
        assert sorted(os.listdir(tmp_path)) == ["file", "living"]
        assert os.listdir(tmp_path / "living") == ["watermark.key"]

    def test_at_every_step_of_replacing_a_folder(self, tmp_path):
        """The next run finds the old folder or the new one, whole, and leaves nothing else."""
        subprocess.run([sys.executable, "-c", REPLACE, tmp_path], check=True, capture_output=True)
        found, missing = [], 0
        for fatal in range(len(os.listdir(tmp_path))):
            folder = tmp_path / str(fatal)
            missing += not (folder / "run").exists()
            write_atomic(folder / "next", b"")
            assert sorted(os.listdir(folder)) == ["next", "run"]
            contents = {(folder / "run" / name).read_bytes() for name in ("part", "other")}
            assert sorted(os.listdir(folder / "run")) == ["other", "part"]
            assert len(contents) == 1
            found += contents
        # Nothing stood there after a kill between the two moves, and one step is after the first of them.
        assert missing == 1
        first = found.index(b"new")
        assert first >= 8
        assert set(found[first:]) == {b"new"}
        assert len(found) > first + 1


class TestSweep:
    @pytest.fixture
    def abandoned(self, tmp_path):
        """A scratch folder that nobody holds, as a process leaves it that is killed between the two moves."""
        folder = tmp_path / ".staged.run.x"
        for place, content in (("new", b"new"), ("replaced", b"old")):
            (folder / place / "run").mkdir(parents=True)
            (folder / place / "run" / "part").write_bytes(content)
        (folder / "lock").touch()
        return folder

    def test_moves_back_what_was_moved_aside(self, abandoned, tmp_path):
        assert _scratch.sweep(tmp_path) == []
        assert os.listdir(tmp_path) == ["run"]
        assert (tmp_path / "run" / "part").read_bytes() == b"old"

    def test_leaves_all_alone_if_something_else_has_come(self, abandoned, tmp_path):
        (tmp_path / "run").mkdir()
        assert _scratch.sweep(tmp_path) == [abandoned]
        assert os.listdir(tmp_path / "run") == []
        assert (abandoned / "replaced" / "run" / "part").read_bytes() == b"old"
        assert (abandoned / "new" / "run" / "part").read_bytes() == b"new"

    def test_throws_the_old_away_once_the_new_is_in_place(self, abandoned, tmp_path):
        (abandoned / "new" / "run").rename(tmp_path / "run")
        assert _scratch.sweep(tmp_path) == []
        assert (tmp_path / "run" / "part").read_bytes() == b"new"

    def test_leaves_what_is_no_scratch_folder(self, tmp_path):
        for name in (".staged.mine", "staged.y.z"):
            (tmp_path / name / "new").mkdir(parents=True)
            (tmp_path / name / "new" / "thesis.tex").touch()
            (tmp_path / name / "notes").touch()
            (tmp_path / name / "lock").touch()
        (tmp_path / ".staged.file.x").touch()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "new").mkdir()
        (tmp_path / "elsewhere" / "lock").touch()
        (tmp_path / ".staged.link.x").symlink_to(tmp_path / "elsewhere")
        before = sorted(tmp_path.rglob("*"))
        write_atomic(tmp_path / "file", b"")
        assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "file"])

    def test_leaves_what_another_user_owns(self, abandoned, tmp_path, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: os.stat(abandoned).st_uid + 1)
        assert _scratch.sweep(tmp_path) == [abandoned]

    def test_removes_what_was_left_before_it_was_locked(self, tmp_path):
        (tmp_path / ".staged.run.x").mkdir()
        assert _scratch.sweep(tmp_path) == []
        assert os.listdir(tmp_path) == []

    def test_that_is_cut_off_is_taken_up_again(self, abandoned, tmp_path, monkeypatch):
        """What is left can still be told for what it is."""
        monkeypatch.setattr(_scratch.shutil, "rmtree", lambda *arguments, **options: None)
        _scratch.sweep(tmp_path)
        assert abandoned.exists()
        monkeypatch.undo()
        assert _scratch.sweep(tmp_path) == []


class TestRace:
    """Between making a scratch folder and locking it, another process may sweep."""

    @pytest.fixture
    def race(self, monkeypatch, tmp_path):
        """Lets a function of a module be preceded by a sweep, the first time."""

        def race(module, name, after):
            really, calls = getattr(module, name), []

            def run(*arguments, **options):
                calls.append(arguments)
                if len(calls) > 1:
                    return really(*arguments, **options)
                if not after:
                    _scratch.sweep(tmp_path)
                result = really(*arguments, **options)
                if after:
                    _scratch.sweep(tmp_path)
                return result

            monkeypatch.setattr(module, name, run)
            return calls

        return race

    @pytest.mark.parametrize(
        ("module", "name", "after"),
        [(tempfile, "mkdtemp", True), (fcntl, "flock", False)],
        ids=["before its lock is there", "before it is locked"],
    )
    def test_makes_another_folder(self, module, name, after, race, tmp_path):
        calls = race(module, name, after)
        write_atomic(tmp_path / "file", b"whole")
        assert len(calls) > 1
        assert os.listdir(tmp_path) == ["file"]
        assert (tmp_path / "file").read_bytes() == b"whole"

    def test_folder_that_a_sweep_holds_is_left_to_it(self, tmp_path, monkeypatch):
        really, calls = fcntl.flock, []

        def flock(descriptor, operation):
            calls.append(descriptor)
            if len(calls) == 1:
                raise BlockingIOError
            really(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", flock)
        write_atomic(tmp_path / "file", b"whole")
        assert (tmp_path / "file").read_bytes() == b"whole"
        assert len(os.listdir(tmp_path)) == 2
        assert _scratch.sweep(tmp_path) == []
        assert os.listdir(tmp_path) == ["file"]

    def test_many_threads_in_one_folder(self, tmp_path):
        failures = []

        def write(number):
            try:
                for turn in range(20):
                    write_atomic(tmp_path / f"{number}-{turn}", b"whole")
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert sorted(os.listdir(tmp_path)) == sorted(f"{number}-{turn}" for number in range(8) for turn in range(20))


class TestWithoutLocks:
    """Some file systems have none. There nothing is removed: nobody knows who lives."""

    @pytest.fixture
    def no_locks(self, monkeypatch):
        def flock(descriptor, operation):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", flock)

    def test_nothing_is_removed(self, killed, tmp_path, no_locks):
        left = killed(tmp_path / "run")
        write_atomic(tmp_path / "file", b"")
        assert sorted(os.listdir(tmp_path)) == sorted([left.name, "file"])

    def test_files_are_written(self, tmp_path, no_locks):
        write_atomic(tmp_path / "file", b"whole")
        write_atomic(tmp_path / "file", b"again", overwrite=True)
        assert os.listdir(tmp_path) == ["file"]
        assert (tmp_path / "file").read_bytes() == b"again"

    def test_who_sees_locks_leaves_what_was_made_without(self, tmp_path, request, monkeypatch):
        """As where two hosts share a file system."""
        request.getfixturevalue("no_locks")
        with staged(tmp_path / "run") as scratch:
            monkeypatch.undo()
            assert len(_scratch.sweep(tmp_path)) == 1
            scratch.mkdir()
        assert os.listdir(tmp_path) == ["run"]


class TestNames:
    @pytest.mark.parametrize("name", ["lock", "new", "replaced", ".staged.x", "x" * 255, "ü" * 127, "a.b.c"])
    def test_any_can_be_staged(self, name, tmp_path):
        for overwrite in (False, True):
            with staged(tmp_path / name, overwrite=overwrite, holds=["part"]) as scratch:
                scratch.mkdir()
                (scratch / "part").touch()
        assert os.listdir(tmp_path) == [name]

    @pytest.mark.parametrize("name", ["7", "a.b.c", "x"])
    def test_of_what_is_being_made(self, name, tmp_path):
        with staged(tmp_path / name) as scratch:
            assert list(map(_scratch.being_made, _scratch.sweep(tmp_path))) == [name]
            scratch.mkdir()
