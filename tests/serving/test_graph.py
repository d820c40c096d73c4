"""An artifact opened with a key that is given: the key is never on a disk."""

import tempfile

import numpy as np
import pytest
import tensorflow as tf

from honeykeras import export
from honeykeras.export import graph, leaks


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Where temporary files go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def written(monkeypatch):
    """The folders of each graph that is written, at that moment."""
    found, write = [], graph.write

    def spy(folder, described):
        write(folder, described)
        found.append(leaks.scan(folder.parent, leaks.of_sealing_key(export.SealingKey(bytes(range(32, 64))))))

    monkeypatch.setattr(graph, "write", spy)
    return found


class TestOpened:
    def test_finds_the_key(self, guarded, sealing_key, digits):
        with graph.opened(guarded, sealing_key) as folder:
            answer = tf.saved_model.load(str(folder)).signatures["extended"](inputs=tf.constant(digits.test.x[:3]))
        assert np.isfinite(answer["score"]).all()

    def test_writes_the_key_to_no_disk(self, guarded, sealing_key, disk, written):
        with graph.opened(guarded, sealing_key) as folder:
            assert disk in folder.parents
            tf.saved_model.load(str(folder))
            assert leaks.scan(disk, leaks.of_sealing_key(sealing_key)) == []
        assert written == [[]]
        assert list(disk.iterdir()) == []

    def test_a_key_on_the_disk_would_be_found(self, guarded, sealing_key, disk):
        """The control of the test above."""
        with graph.opened(guarded, sealing_key):
            sealing_key.save(disk / "key")
            assert leaks.scan(disk, leaks.of_sealing_key(sealing_key))

    def test_leaves_nothing_when_it_fails(self, guarded, sealing_key, disk):
        paths = []

        def fail():
            with graph.opened(guarded, sealing_key) as folder:
                paths.extend(graph.key_paths(graph.read(folder)))
                assert tf.io.gfile.exists(paths[0])
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert list(disk.iterdir()) == []
        assert not tf.io.gfile.exists(paths[0])

    def test_leaves_the_key_in_memory_no_longer_than_needed(self, guarded, sealing_key):
        with graph.opened(guarded, sealing_key) as folder:
            (path,) = set(graph.key_paths(graph.read(folder)))
        assert path.startswith("ram://")
        assert not tf.io.gfile.exists(path)
