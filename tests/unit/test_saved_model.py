import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import export
from honeykeras.errors import ModelError, StorageError
from honeykeras.outputs import Logits


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    return export.save(classifier, tmp_path_factory.mktemp("serving") / "digits")


@pytest.fixture
def images(digits):
    return digits.test.x[:40], digits.test.y[:40]


def test_predicts_what_the_model_does(folder, classifier, images):
    x, _ = images
    expected = tf.nn.softmax(classifier(x)).numpy()
    model = hk.models.load(folder)
    assert np.allclose(model.predict(x, verbose=0), expected, atol=1e-6)
    assert np.allclose(model(x), expected, atol=1e-6)


def test_logits_behind_its_softmax_are_those_of_the_model(folder, classifier, images):
    """Up to rounding, where the logarithm of a probability would differ by a constant for each input."""
    x, _ = images
    logits = Logits(hk.models.load(folder), (8, 8, 1))
    found = tf.function(logits, autograph=False)(tf.constant(x))
    assert np.allclose(found, classifier(x), atol=1e-4)


@pytest.mark.parametrize("attack", [hk.attacks.PGD(0.2, steps=5), hk.attacks.JSMA(gamma=0.3)], ids=["pgd", "jsma"])
def test_attacked_like_the_model(folder, classifier, images, attack):
    x_adv = [attack.generate(model, *images).x_adv for model in (classifier, hk.models.load(folder))]
    assert np.mean(np.abs(x_adv[0] - x_adv[1]) > 1e-5) < 0.005


def test_logits_of_a_plain_keras_export_are_taken_as_they_are(classifier, images, tmp_path):
    classifier.export(tmp_path / "plain", verbose=False)
    x, _ = images
    assert np.allclose(hk.models.load(tmp_path / "plain").predict(x, verbose=0), classifier(x), atol=1e-4)


def test_outlives_the_folder(classifier, images, tmp_path):
    path = export.save(classifier, tmp_path / "gone")
    model = hk.models.load(path)
    for file in sorted(path.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert len(hk.attacks.PGD(0.2, steps=2).generate(model, *images)) == 40


def test_two_of_them_have_other_weights(folder, tmp_path):
    """So that `craft` tells them apart."""
    other = export.save(hk.models.small_cnn((8, 8, 1), 10), tmp_path / "other")
    weights = [hk.models.load(path).get_weights()[0] for path in (folder, folder, other)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def save(function, path, **signatures):
    module = tf.Module()
    module.function = tf.function(function)
    specs = {name: module.function.get_concrete_function(*spec) for name, spec in signatures.items()}
    tf.saved_model.save(module, str(path), signatures=specs)
    return path


FLOATS = tf.TensorSpec([None, 3], tf.float32, "x")


class TestBadInput:
    def test_model_folder_names_its_versions(self, folder):
        with pytest.raises(ModelError, match="Give one of the versions in it: 1"):
            hk.models.load(folder.parent)

    def test_empty_folder(self, tmp_path):
        with pytest.raises(ModelError, match=r"without saved_model\.pb"):
            hk.models.load(tmp_path)

    def test_damaged(self, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes(b"nothing")
        with pytest.raises(ModelError, match="must hold a SavedModel"):
            hk.models.load(tmp_path)

    def test_no_serving_default(self, tmp_path):
        with pytest.raises(ModelError, match=r"must have the signature 'serving_default'. Received: \['other'\]"):
            hk.models.load(save(lambda x: {"y": x}, tmp_path / "m", other=[FLOATS]))

    def test_several_outputs(self, tmp_path):
        with pytest.raises(ModelError, match=r"one input and one output. Received: .* outputs \['y', 'z'\]"):
            hk.models.load(save(lambda x: {"y": x, "z": x}, tmp_path / "m", serving_default=[FLOATS]))

    @pytest.mark.parametrize(
        "spec", [tf.TensorSpec([None], tf.string, "x"), tf.TensorSpec([None, None], tf.float32, "x")]
    )
    def test_other_inputs(self, tmp_path, spec):
        with pytest.raises(ModelError, match="must take float32 inputs of a stated shape"):
            hk.models.load(save(lambda x: {"y": tf.identity(x)}, tmp_path / "m", serving_default=[spec]))

    def test_other_resources(self, tmp_path):
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([0], [1.0]), 0.0)
        module = tf.Module()
        module.table = table
        module.function = tf.function(lambda x: {"y": x + table.lookup(tf.constant(0))}, input_signature=[FLOATS])
        tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.function)
        with pytest.raises(ModelError, match="Received: one that has other resources"):
            hk.models.load(tmp_path / "m")

    def test_files_that_are_not_those_of_its_manifest(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "1")
        (tmp_path / "1" / "variables" / "variables.index").write_bytes(b"")
        with pytest.raises(StorageError, match=r"variables\.index was altered"):
            hk.models.load(tmp_path / "1")

    def test_damaged_variables(self, folder, tmp_path):
        shutil.copytree(folder, tmp_path / "1")
        (tmp_path / "1" / "manifest.json").unlink()
        (tmp_path / "1" / "variables" / "variables.index").write_bytes(b"x")
        with pytest.raises(ModelError, match="must be a SavedModel that can be loaded") as caught:
            hk.models.load(tmp_path / "1")
        assert "\n" not in str(caught.value)

    def test_no_classifier(self, tmp_path):
        model = hk.models.load(save(lambda x: {"y": x[:, 0]}, tmp_path / "m", serving_default=[FLOATS]))
        with pytest.raises(ModelError, match="must have one output of shape"):
            hk.attacks.PGD(0.1).generate(model, np.zeros((2, 3), np.float32), np.zeros(2, int))


def test_a_half_precision_model(images, tmp_path):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = hk.models.small_cnn((8, 8, 1), 10)
    finally:
        keras.config.set_dtype_policy(policy)
    path = export.save(model, tmp_path / "half")
    x, _ = images
    expected = tf.nn.softmax(tf.cast(model(x), tf.float32))
    assert np.allclose(hk.models.load(path).predict(x, verbose=0), expected, atol=1e-3)
