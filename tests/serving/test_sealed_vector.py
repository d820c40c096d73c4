"""A vector that is sealed into a SavedModel opens where the key is, and nowhere else."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from honeykeras.errors import InvalidArgumentError
from honeykeras.export import sealing
from honeykeras.export.sealed_vector import SealedVector, seal_vector

ARTIFACT = bytes(range(16))
VALUES = np.random.default_rng(0).normal(size=301).astype(np.float32)
KEY = sealing.SealingKey(bytes(range(32)))


def write(folder, key_paths, values=VALUES, artifact_id=ARTIFACT, key=KEY):
    """An artifact that adds a sealed vector's sum to its inputs."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / "parameters"
    file.write_bytes(seal_vector(values, key, artifact_id))
    vector = SealedVector(file, artifact_id, len(values), key_paths)
    archive = keras.export.ExportArchive()
    archive.track(vector)
    archive.add_endpoint(
        "serving_default",
        lambda inputs: {"sums": inputs + tf.reduce_sum(vector.read())},
        input_signature=[keras.InputSpec(shape=(None,), dtype="float32", name="inputs")],
    )
    archive.write_out(str(folder), verbose=False)
    file.unlink()
    return folder


def answer(loaded):
    return loaded.signatures["serving_default"](inputs=tf.zeros(1))["sums"].numpy().item()


def load(folder):
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """It looks for its key two folders up, and then in a place that is not there."""
    return write(tmp_path_factory.mktemp("any") / "serving" / "1", ["../../model.key", "/nowhere/model.key"])


@pytest.fixture
def version(written, tmp_path):
    copy = tmp_path / "serving" / "1"
    shutil.copytree(written, copy)
    KEY.save(tmp_path / "model.key")
    return copy


def content_of(folder):
    """All files of a folder, one after the other."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def assert_not_loaded(version, *expected):
    """Loading fails with one sentence that says what the reader needs, and no key."""
    # Python's loader gives what was not found an error of Python's.
    with pytest.raises((tf.errors.OpError, FileNotFoundError)) as caught:
        load(version)
    for text in expected:
        assert text in str(caught.value)
    assert KEY._secret.hex() not in str(caught.value)


class TestOpens:
    def test_where_the_key_file_is(self, version):
        assert answer(load(version)) == pytest.approx(VALUES.sum(), rel=1e-5)

    def test_in_a_folder_that_was_moved_with_its_key(self, version, tmp_path):
        shutil.copytree(tmp_path, moved := tmp_path.parent / f"{tmp_path.name} moved")
        shutil.rmtree(tmp_path)
        assert answer(load(moved / "serving" / "1")) == pytest.approx(VALUES.sum(), rel=1e-5)
        # Pytest looks for it.
        tmp_path.mkdir()

    def test_in_a_folder_that_cannot_be_written(self, version):
        places = [version, *version.rglob("*")]
        for place in places:
            place.chmod(0o500 if place.is_dir() else 0o400)
        try:
            assert answer(load(version)) == pytest.approx(VALUES.sum(), rel=1e-5)
        finally:
            for place in places:
                place.chmod(0o700)

    def test_the_first_key_file_that_is_there(self, tmp_path):
        folder = write(tmp_path / "serving" / "1", ["/nowhere/z.key", str(tmp_path / "b.key"), str(tmp_path / "a.key")])
        KEY.save(tmp_path / "b.key")
        sealing.SealingKey.generate().save(tmp_path / "a.key")
        assert answer(load(folder)) == pytest.approx(VALUES.sum(), rel=1e-5)

    def test_where_a_url_says(self, tmp_path):
        """As of a bucket: no path relative to the version folder."""
        folder = write(tmp_path / "serving" / "1", ["ram://keys/model.key"])
        with tf.io.gfile.GFile("ram://keys/model.key", "wb") as file:
            file.write(KEY._secret)
        assert answer(load(folder)) == pytest.approx(VALUES.sum(), rel=1e-5)
        tf.io.gfile.remove("ram://keys/model.key")
        assert_not_loaded(folder, "No key file was found at] [ram://keys/model.key]")

    def test_beside_another_artifact(self, version, tmp_path):
        other = write(tmp_path / "serving" / "2", ["../../model.key"], values=np.ones(7), artifact_id=bytes(16))
        first, second = load(version), load(other)
        assert [answer(first), answer(second)] == pytest.approx([VALUES.sum(), 7])

    def test_for_a_new_key_without_another_model(self, version, tmp_path):
        new, file = sealing.SealingKey.generate(), version / "assets" / "parameters"
        file.write_bytes(sealing.seal_again(file.read_bytes(), KEY, new))
        assert_not_loaded(version, "Another key is needed, or the file was altered")
        new.save(tmp_path / "model.key", overwrite=True)
        assert answer(load(version)) == pytest.approx(VALUES.sum(), rel=1e-5)


class TestFailsClosed:
    def test_without_a_key_file(self, version, tmp_path):
        (tmp_path / "model.key").unlink()
        assert_not_loaded(version, f"No key file was found at] [{version}/../../model.key, /nowhere/model.key]")

    def test_with_another_key(self, version, tmp_path):
        sealing.SealingKey.generate().save(tmp_path / "model.key", overwrite=True)
        assert_not_loaded(version, "Another key is needed, or the file was altered", "assets/parameters", "model.key")

    @pytest.mark.parametrize("content", [b"", b"0" * 63, bytes(31)])
    def test_with_a_key_file_of_another_form(self, version, tmp_path, content):
        (tmp_path / "model.key").write_bytes(content)
        assert_not_loaded(version, "The key file must hold 64 hexadecimal digits, or 32 bytes", "model.key")

    def test_with_a_folder_for_a_key_file(self, version, tmp_path):
        (tmp_path / "model.key").unlink()
        (tmp_path / "model.key").mkdir()
        assert_not_loaded(version, "model.key")

    @pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"", bytes])
    def test_with_an_altered_file(self, version, change):
        file = version / "assets" / "parameters"
        altered = bytearray(file.read_bytes())
        altered[100] ^= 1
        file.write_bytes(change(bytes(altered) if change is bytes else file.read_bytes()))
        assert_not_loaded(version, "Another key is needed, or the file was altered", "assets/parameters")

    def test_with_the_file_of_another_artifact(self, version):
        (version / "assets" / "parameters").write_bytes(seal_vector(VALUES, KEY, bytes(16)))
        assert_not_loaded(version, "Another key is needed, or the file was altered")

    @pytest.mark.parametrize("place", [0, 8, 15, 16, 24, 31])
    def test_with_an_altered_header(self, version, place):
        """Format, id of the key, id of the artifact."""
        file = version / "assets" / "parameters"
        altered = bytearray(file.read_bytes())
        altered[place] ^= 1
        file.write_bytes(altered)
        assert_not_loaded(version, "Another key is needed, or the file was altered")

    def test_without_the_file(self, version):
        (version / "assets" / "parameters").unlink()
        assert_not_loaded(version, "assets/parameters")


class TestSecrecy:
    def test_neither_numbers_nor_key_are_in_any_file(self, version):
        content = content_of(version)
        assert VALUES.tobytes()[:16] not in content
        assert VALUES.astype(np.float64).tobytes()[:16] not in content
        assert KEY._secret not in content
        assert KEY._secret.hex().encode() not in content

    def test_a_variable_would_be_found(self, tmp_path):
        """The control of the test above."""
        module = tf.Module()
        module.values = tf.Variable(VALUES)
        tf.saved_model.save(module, str(tmp_path / "1"))
        content = content_of(tmp_path)
        assert VALUES.tobytes()[:16] in content

    def test_what_is_loaded_and_saved_again_holds_no_numbers(self, version, tmp_path):
        loaded = load(version)
        tf.train.Checkpoint(model=loaded).write(str(tmp_path / "again" / "checkpoint"))
        tf.saved_model.save(loaded, str(tmp_path / "again" / "1"))
        content = content_of(tmp_path / "again")
        assert VALUES.tobytes()[:16] not in content

    def test_nothing_says_what_it_is_for(self, version):
        content = content_of(version).lower()
        for word in (b"honey", b"watermark", b"detect", b"seal", b"secret", b"cipher", b"poly1305", b"decrypt"):
            assert word not in content


class TestArguments:
    @pytest.mark.parametrize("key_paths", [[], "/run/secrets/model.key", ["/run/secrets/*.key"], ["a", "[b]"]])
    def test_key_paths_are_one_or_more(self, key_paths):
        with pytest.raises(InvalidArgumentError, match="`key_paths` must be one or more paths"):
            SealedVector("parameters", ARTIFACT, 3, key_paths)

    @pytest.mark.parametrize("size", [0, -1, 1.5])
    def test_size_is_a_whole_number(self, size):
        with pytest.raises(InvalidArgumentError, match="`size`"):
            SealedVector("parameters", ARTIFACT, size, ["/run/secrets/model.key"])
