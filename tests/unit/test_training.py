import dataclasses

import numpy as np
import pytest

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError, ModelError, StorageError


def test_two_models_that_differ_in_the_honeypot_alone(digits):
    key = hk.WatermarkKey.generate((8, 8, 1), 10, pattern=hk.patterns.Scattered())
    trained = hk.training.train(digits, hk.Honeypot(key, "paper"), epochs=3, seed=3)
    again = hk.training.train(digits, hk.Honeypot(key, "paper"), epochs=3, seed=3)
    assert len(trained.history["loss"]) == len(trained.baseline_history["loss"]) == 3
    assert "watermark_similarity" in trained.history
    assert "watermark_similarity" not in trained.baseline_history
    weights = trained.model.get_weights()
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, again.model.get_weights(), strict=True))
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, trained.baseline.get_weights(), strict=True))


def test_yardstick_is_a_model_without_a_honeypot_from_another_seed(digits):
    key = hk.WatermarkKey.generate((8, 8, 1), 10, pattern=hk.patterns.Scattered())
    trained = hk.training.train(digits, hk.Honeypot(key, "paper"), epochs=2, yardstick=True, seed=3)
    following = hk.training.train(digits, hk.Honeypot(key, "paper"), epochs=2, seed=4)
    assert following.yardstick is None
    weights = trained.yardstick.get_weights()
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, following.baseline.get_weights(), strict=True))
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, trained.baseline.get_weights(), strict=True))


def test_branch_where_the_data_needs_one(digits):
    honeypot = hk.Honeypot(hk.WatermarkKey.generate((8, 8, 1), 10, pattern=hk.patterns.Scattered()), "paper")
    data = dataclasses.replace(digits, needs_branch=True)
    trained = hk.training.train(data, honeypot, epochs=2)
    assert all(model.get_layer("detail_logits") for model in (trained.model, trained.baseline))
    # Nothing is left of the learning rate, which falls along a cosine.
    assert float(trained.model.optimizer.learning_rate) == pytest.approx(0, abs=1e-6)


def test_key_must_fit_the_data(digits):
    honeypot = hk.Honeypot(hk.WatermarkKey.generate((9, 9, 1), 10, pattern=hk.patterns.Scattered()), "paper")
    with pytest.raises(InvalidArgumentError, match="The key must be for inputs of shape"):
        hk.training.train(digits, honeypot, epochs=1)


@pytest.mark.parametrize(
    "arguments", [{"epochs": 0}, {"epochs": 1.5}, {"epochs": 1, "batch_size": 0}, {"epochs": 1, "seed": -1}]
)
def test_bad_arguments(digits, arguments):
    honeypot = hk.Honeypot(hk.WatermarkKey.generate((8, 8, 1), 10, pattern=hk.patterns.Scattered()), "paper")
    with pytest.raises(InvalidArgumentError, match="must be a whole number"):
        hk.training.train(digits, honeypot, **arguments)


class TestModelFiles:
    def test_load_inverts_save(self, classifier, digits, tmp_path):
        hk.models.save(classifier, tmp_path / "model.keras")
        loaded = hk.models.load(tmp_path / "model.keras")
        x = digits.test.x
        assert np.array_equal(loaded.predict(x, verbose=0), classifier.predict(x, verbose=0))

    def test_save_never_replaces_silently(self, classifier, tmp_path):
        path = tmp_path / "model.keras"
        path.write_text("precious")
        with pytest.raises(StorageError, match="already exists"):
            hk.models.save(classifier, path)
        assert path.read_text() == "precious"
        hk.models.save(classifier, path, overwrite=True)
        assert hk.models.load(path).name == "small_cnn"

    def test_name_must_be_a_keras_files(self, classifier, tmp_path):
        with pytest.raises(InvalidArgumentError, match=r"`path` must end in .keras. Received: path='.*model.h5'"):
            hk.models.save(classifier, tmp_path / "model.h5")
        assert not list(tmp_path.iterdir())

    def test_missing(self, tmp_path):
        with pytest.raises(ModelError, match=r"folder of a SavedModel at .*none.keras. Received: no such file"):
            hk.models.load(tmp_path / "none.keras")

    @pytest.mark.parametrize("name", ["model.keras", "model.h5", "model.txt"])
    def test_not_a_model(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not really")
        with pytest.raises(ModelError, match="must hold a Keras model"):
            hk.models.load(tmp_path / name)

    def test_truncated(self, classifier, tmp_path):
        hk.models.save(classifier, tmp_path / "model.keras")
        whole = (tmp_path / "model.keras").read_bytes()
        (tmp_path / "model.keras").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelError, match="must hold a Keras model"):
            hk.models.load(tmp_path / "model.keras")
