"""Publishing that is killed leaves no version that is not whole, and those that serve as they were."""

import os
import shutil
import subprocess
import sys

import pytest

import honeykeras as hk
from honeykeras import export, manifest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks")

# Calls of the operating system that change a file system, or wait for it.
STEPS = ("fsync", "rename", "mkdir", "open", "unlink", "rmdir", "link", "replace")

# Publishes a folder of several files, in children that kill themselves before one step after the other, each. The last
# of them gets to the end.
PUBLISH = f"""
import os, pathlib, signal, sys
from honeykeras import manifest
from honeykeras.export.publish import new_version

def publish(base, fatal):
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
    with new_version(base) as folder:
        (folder.scratch / "variables").mkdir(parents=True)
        for name in ("saved_model.pb", "variables/data"):
            (folder.scratch / name).write_bytes(os.urandom(5000))
        manifest.write(folder.scratch, manifest.Identity.of_place(folder.path))

base, fatal, killed = pathlib.Path(sys.argv[1]), 0, True
while killed:
    child = os.fork()
    if child == 0:
        publish(base / str(fatal), fatal)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    fatal += 1
"""

AFTER = ("warmup", "manifest", "replay")

# Exports a model in children, each of which kills itself after a step of its own.
EXPORT = f"""
import os, signal, sys
import honeykeras as hk
from honeykeras import export, manifest
from honeykeras.export import warmup

hk.models, export.save  # What takes seconds is imported once; nothing runs before there are children.
steps = {{"warmup": (warmup, "write"), "manifest": (manifest, "write"), "replay": (warmup, "replay")}}

def export_and_die(after):
    module, name = steps[after]
    really = getattr(module, name)
    def die(*arguments, **options):
        really(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(module, name, die)
    export.save(hk.models.load(sys.argv[1]), f"{{sys.argv[2]}}/{{after}}")

for after in {AFTER}:
    child = os.fork()
    if child == 0:
        export_and_die(after)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def versions(folder):
    return {name for name in os.listdir(folder) if name.isdecimal()}


def test_at_every_step_of_publishing(tmp_path):
    """Of a model that has a version already, each time."""
    for fatal in range(60):
        (tmp_path / str(fatal) / "1").mkdir(parents=True)
        (tmp_path / str(fatal) / "1" / "saved_model.pb").write_bytes(b"serves")
    subprocess.run([sys.executable, "-c", PUBLISH, tmp_path], check=True, capture_output=True)
    outcomes = []
    for fatal in range(60):
        base = tmp_path / str(fatal)
        assert (base / "1" / "saved_model.pb").read_bytes() == b"serves"
        for name in set(os.listdir(base)) - {"1"}:
            if name.isdecimal():
                assert len(manifest.check(base / name).files) == 2
            else:
                assert name.startswith(".staged."), name
        outcomes.append("2" in versions(base))
    # Most died before there was a version, some after, and from some step on they were never begun.
    count = max(fatal for fatal, published in enumerate(outcomes) if published)
    first = outcomes.index(True)
    assert first >= 8
    assert count > first
    assert all(outcomes[first : count + 1])
    assert count < 59


def test_within_an_export(classifier, tmp_path):
    hk.models.save(classifier, tmp_path / "model.keras")
    export.save(classifier, tmp_path / AFTER[0])
    for after in AFTER[1:]:
        shutil.copytree(tmp_path / AFTER[0], tmp_path / after)
    before = {after: snapshot(tmp_path / after) for after in AFTER}
    command = [sys.executable, "-c", EXPORT, tmp_path / "model.keras", tmp_path]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for after in AFTER:
        serving = tmp_path / after
        assert versions(serving) == {"1"}
        there = snapshot(serving)
        assert {path: there.get(path) for path in before[after]} == before[after]
        assert any(name.startswith(".staged.") for name in os.listdir(serving))
        manifest.check(export.save(classifier, serving))
        assert versions(serving) == {"1", "2"}
