import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import model_sources, passes
from honeykeras.errors import InvalidArgumentError, ModelError, StorageError

pytestmark = pytest.mark.filterwarnings("ignore:The smallest class")


def test_two_models_that_differ_in_the_honeypot_alone(digits):
    key, data = hk.WatermarkKey.generate((8, 8, 1), 10, pattern=hk.patterns.Scattered()), digits.reduced(300)
    trained = hk.training.train(data, hk.Honeypot(key, "paper"), epochs=3, seed=3)
    again, _ = hk.training.fit_classifier(data, hk.Honeypot(key, "paper"), epochs=3, seed=3)
    assert trained.yardstick is None
    assert len(trained.history["loss"]) == len(trained.baseline_history["loss"]) == 3
    assert "watermark_similarity" in trained.history
    assert "watermark_similarity" not in trained.baseline_history
    weights = trained.model.get_weights()
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, again.get_weights(), strict=True))
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, trained.baseline.get_weights(), strict=True))


def test_yardstick_is_a_model_without_a_honeypot_from_another_seed(digits):
    key, data = hk.WatermarkKey.generate((8, 8, 1), 10, pattern=hk.patterns.Scattered()), digits.reduced(300)
    trained = hk.training.train(data, hk.Honeypot(key, "paper"), epochs=2, yardstick=True, seed=3)
    following, _ = hk.training.fit_classifier(data, None, epochs=2, seed=4)
    weights = trained.yardstick.get_weights()
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, following.get_weights(), strict=True))
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(weights, trained.baseline.get_weights(), strict=True))


def test_images_get_a_branch(digits):
    honeypot = hk.Honeypot(hk.WatermarkKey.generate((8, 8, 1), 10, pattern=hk.patterns.Scattered()), "paper")
    trained = hk.training.train(digits.reduced(300), honeypot, epochs=2)
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


class Stop(keras.callbacks.Callback):
    """A process that is killed in the middle of its third epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if len(self.model.history.epoch) == 2 and batch == 1:
            raise KeyboardInterrupt


def dropping(data, *, seed, steps):
    """A classifier that is quick to train, with draws of its own, and a schedule."""
    schedule = model_sources.reference(data, seed=seed, steps=steps).model.get_compile_config()
    dense = hk.models.small_dense(data.input_shape, data.num_classes, seed=seed)
    model = keras.Sequential(
        [keras.Input(data.input_shape), *dense.layers[:-1], keras.layers.Dropout(0.2, seed=seed), dense.layers[-1]]
    )
    model.compile_from_config(schedule)
    return model_sources.Classifier(model)


class TestResuming:
    @pytest.mark.filterwarnings("ignore::honeykeras.errors.PlantingWarning")
    @pytest.mark.usefixtures("surrogates_of_few_steps")
    def test_goes_on_as_if_it_had_not_been_stopped(self, digits, tmp_path, monkeypatch):
        """By the recipe that has all that there is, other models' images too, which are made anew."""
        key = hk.WatermarkKey(bytes(32), (8, 8, 1), 10)
        common = {"epochs": 4, "batch_size": 64, "build": dropping, "seed": 3}
        data = digits.reduced(300)
        whole = hk.training.train(data, hk.Honeypot(key, "hardened"), **common)
        fit, calls = keras.Model.fit, []

        def killed(self, *arguments, callbacks, **options):
            calls.append(1)
            # The second training, that with the honeypot.
            stop = [Stop()] if len(calls) == 2 else []
            return fit(self, *arguments, callbacks=[*callbacks, *stop], **options)

        monkeypatch.setattr(keras.Model, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            hk.training.train(data, hk.Honeypot(key, "hardened"), **common, checkpoints=tmp_path / "kept")
        monkeypatch.undo()
        assert (tmp_path / "kept" / "model" / "backup").is_dir()
        resumed = hk.training.train(data, hk.Honeypot(key, "hardened"), **common, checkpoints=tmp_path / "kept")
        for name in ("model", "baseline"):
            pairs = zip(getattr(whole, name).get_weights(), getattr(resumed, name).get_weights(), strict=True)
            assert all(np.allclose(a, b, atol=1e-4) for a, b in pairs), name
        for name in ("history", "baseline_history"):
            one, other = getattr(whole, name), getattr(resumed, name)
            assert one.keys() == other.keys()
            assert all(np.allclose(one[metric], other[metric], atol=0.02) for metric in one)
        assert not (tmp_path / "kept" / "model" / "backup").exists()


class TestData:
    def test_order_is_that_of_the_epoch(self):
        x = tf.data.Dataset.range(50)
        counter = passes.PassCounter()
        mixed = passes.shuffled(x, 3, counter, size=50)
        first, second, third = (list(mixed.as_numpy_iterator()) for _ in range(3))
        assert sorted(first) == sorted(second) == list(range(50))
        assert first != second != third
        counter.set_next(1)
        tf.random.set_seed(5)
        assert list(passes.shuffled(x, 3, counter, size=50).as_numpy_iterator()) == second
        further = list(passes.endless(x, 3, 1).take(100).as_numpy_iterator())
        assert further == second + third

    def test_large_samples_are_not_all_held(self):
        images = tf.data.Dataset.range(1).map(lambda _: tf.zeros([1024, 1024, 3]))
        assert passes._buffer_size(images) == 2**27 // (4 * 3 * 2**20)
        assert passes._buffer_size(tf.data.Dataset.range(3)) == 10_000

    def test_augmentation_comes_before_the_watermark(self, digits):
        seen = []

        def augment(x):
            seen.append(x.shape)
            return 2 * x

        key = hk.WatermarkKey(bytes(32), (8, 8, 1), 10)
        honeypot = hk.Honeypot(key)
        hk.training.fit_classifier(digits.reduced(300), honeypot, epochs=1, augment=augment)
        assert seen
        assert all(shape[1:] == (8, 8, 1) for shape in seen)
        (x, _), *_ = honeypot.planting.clean.take(1).as_numpy_iterator()
        assert x.max() == 1
        assert np.mean(x == 1) > 2 * np.mean(digits.train.x == 1)

    def test_augmentation_by_layers(self, digits):
        told = []

        class Flip(keras.layers.RandomFlip):
            def call(self, inputs, training=False):
                told.append(training)
                return super().call(inputs, training=training)

        hk.training.fit_classifier(digits.reduced(300), None, epochs=1, augment=Flip(seed=1))
        assert told
        assert all(told)

    @pytest.mark.parametrize(
        ("augment", "message"),
        [
            (lambda x: x[:, :4], "into another of the same shape"),
            (lambda x, y: (x, y), "Received: TypeError"),
            (lambda x: None, "Received: "),
        ],
    )
    def test_bad_augmentation(self, digits, augment, message):
        with pytest.raises(InvalidArgumentError, match=f"`augment` must turn .*{message}"):
            hk.training.fit_classifier(digits.reduced(300), None, epochs=1, augment=augment)

    def test_losses_that_take_rows_get_them(self, digits):
        def build(data, *, seed, steps):
            model = hk.models.small_dense(data.input_shape, data.num_classes, seed=seed)
            model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
            return model_sources.Classifier(model, {number: 1.0 + (number == 3) for number in range(10)})

        key = hk.WatermarkKey(bytes(32), (8, 8, 1), 10)
        trained = hk.training.train(digits, hk.Honeypot(key), epochs=5, build=build)
        assert trained.baseline_history["accuracy"][-1] > 0.5


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
