import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.hardening import Hardening, Samples
from honeykeras.outputs import Logits

pytestmark = pytest.mark.filterwarnings("ignore:The smallest class")

RECIPE = dataclasses.replace(hk.recipes.BALANCED, name="aligned", alignment=0.1)
# What leaves nothing of it to train on.
NOTHING = {"adversarial_epsilon": 0.0, "random_share": 0.0, "transfer_share": 0.0, "alignment": 0.0}
layers = keras.layers


def made(shape=(6, 6, 1), classes=4, count=96):
    rng = np.random.default_rng(0)
    return rng.uniform(0.3, 0.7, (count, *shape)).astype(np.float32), np.arange(count) % classes


def compiled(model, optimizer="adam", **kwargs):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(**{"optimizer": optimizer, "loss": loss, "metrics": ["accuracy"], **kwargs})
    return model


def dense(shape=(6, 6, 1), classes=4, **kwargs):
    return compiled(keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(classes)]), **kwargs)


def plant(model, x, y, recipe=RECIPE, epochs=2, **kwargs):
    classes = model.output_shape[-1]
    honeypot = hk.Honeypot(hk.WatermarkKey(bytes(32), x.shape[1:], classes), recipe)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32).apply(honeypot.poison)
    callback = hk.HoneyCallback(honeypot)
    return model.fit(data, epochs=epochs, callbacks=[callback], verbose=0, shuffle=False, **kwargs)


def hardening_of(model, key, x, y, watermark):
    """The training step of the recipe on some data, off a watermark or off none."""
    data = tf.data.Dataset.from_tensor_slices((x, y))
    samples = Samples(data, len(x), (6, 6, 1), key.input_range, 4, key.draw_seed("hardening"), 0)
    return Hardening(model, Logits(model, (6, 6, 1)), samples, RECIPE, watermark, 32, 10)


def attack(hardening, x, y, radius):
    seed = tf.constant([0, 0], tf.int64)
    return tf.function(lambda x, y: hardening._attack(x, y, tf.constant(radius), seed))(x, y).numpy()


class TestOffKey:
    def test_perturbations_hold_little_of_the_patterns(self):
        """What the clipping to the radius puts back, and no more; the control is the attack without its projection."""
        x, y = made()
        key = hk.WatermarkKey(bytes(32), (6, 6, 1), 4)
        watermark = hk.Watermark(key)
        patterns = watermark.patterns().numpy().reshape(4, -1).T
        model = dense()
        # Its gradients are the key's own.
        model.set_weights([patterns, np.zeros(4)])
        span = np.linalg.qr(patterns)[0]

        def share(watermark):
            delta = (attack(hardening_of(model, key, x, y, watermark), x, y, 0.1) - x).reshape(len(x), -1)
            return np.mean(np.linalg.norm(delta @ span, axis=1) / np.linalg.norm(delta, axis=1))

        assert share(watermark) < 0.25
        assert share(None) > 0.6

    def test_stay_in_their_radius_and_in_range(self):
        x, y = made()
        key = hk.WatermarkKey(bytes(32), (6, 6, 1), 4)
        hardening = hardening_of(dense(), key, x, y, hk.Watermark(key))
        x_adv = attack(hardening, x, y, 0.5)
        assert np.abs(x_adv - x).max() <= 0.5 + 1e-6
        assert x_adv.min() >= 0
        assert x_adv.max() <= 1

    @pytest.mark.parametrize("end", [0.0, 1.0])
    def test_move_what_lies_at_an_end_of_the_range(self, end):
        """As most of a drawing does. A start beyond it, where nothing has a gradient, must not hold a feature there."""
        x, y = np.full((96, 6, 6, 1), end, np.float32), np.zeros(96, np.int64)
        key = hk.WatermarkKey(bytes(32), (6, 6, 1), 4)
        model = dense()
        away = np.full((36, 4), 1.0 - 2 * end, np.float32)
        away[:, 0] *= -1
        # The first class has the least, so that all features lead away from it.
        model.set_weights([away, np.zeros(4)])
        moved = np.abs(attack(hardening_of(model, key, x, y, None), x, y, 0.1) - x).reshape(96, -1)
        assert moved.min() > 0.02
        assert np.ptp(moved, axis=1).max() < 1e-6


class TestTraining:
    @pytest.mark.parametrize(
        "optimizer",
        [
            lambda: "adam",
            lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5), momentum=0.9),
            lambda: keras.optimizers.AdamW(use_ema=True, gradient_accumulation_steps=2),
        ],
        ids=["adam", "sgd with a schedule", "averaging and accumulating"],
    )
    def test_users_optimizer_is_left_alone(self, optimizer):
        """It counts the steps of `fit` alone, so that schedules mean what they say."""
        x, y = made()
        model, bare = (dense(optimizer=optimizer()) for _ in range(2))
        plant(model, x, y)
        bare.fit(x, y, batch_size=32, epochs=2, verbose=0)
        assert int(model.optimizer.iterations) == int(bare.optimizer.iterations)
        assert len(model.optimizer.variables) == len(bare.optimizer.variables)

    def test_is_done_once_a_step_also_where_keras_runs_several(self, monkeypatch):
        steps = []
        step = Hardening.step
        monkeypatch.setattr(Hardening, "step", lambda self: (steps.append(1), step(self)))
        x, y = made()
        plant(dense(steps_per_execution=2), x, y)
        assert len(steps) == 6

    def test_repeats(self):
        x, y = made()
        weights = []
        for _ in range(2):
            keras.utils.set_random_seed(0)
            model = dense()
            plant(model, x, y)
            weights.append(model.get_weights()[0])
        assert np.allclose(*weights, atol=1e-5)

    def test_needs_no_step_where_the_recipe_has_none(self, monkeypatch):
        monkeypatch.setattr(Hardening, "step", lambda self: pytest.fail("it was hardened"))
        plant(dense(), *made(), recipe=dataclasses.replace(RECIPE, **NOTHING))

    @pytest.mark.parametrize("field", NOTHING)
    def test_each_part_works_alone(self, field):
        recipe = dataclasses.replace(RECIPE, **{**NOTHING, field: getattr(RECIPE, field)})
        history = plant(dense(), *made(), recipe=recipe).history
        assert np.isfinite(history["loss"]).all()

    @pytest.mark.parametrize(
        "kind", ["batch norm and dropout", "softmax", "one-hot", "vector", "thirty classes", "half"]
    )
    def test_works_with(self, kind):
        shape = (12,) if kind == "vector" else (6, 6, 1)
        classes = 30 if kind == "thirty classes" else 4
        x, y = made(shape, classes)
        if kind == "half":
            keras.config.set_dtype_policy("mixed_float16")
        try:
            body = [layers.Dense(16), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.3)]
            head = [layers.Dense(classes), *([layers.Softmax()] if kind == "softmax" else [])]
            model = keras.Sequential([keras.Input(shape), layers.Flatten(), *body, *head])
        finally:
            keras.config.set_dtype_policy("float32")
        compiled(model)
        if kind == "softmax":
            compiled(model, loss="sparse_categorical_crossentropy")
        if kind == "one-hot":
            compiled(model, loss=keras.losses.CategoricalCrossentropy(from_logits=True))
            y = np.eye(classes, dtype=np.float32)[y]
        before = [weight.copy() for weight in model.get_weights()]
        history = plant(model, x, y).history
        assert np.isfinite(history["loss"]).all()
        assert all(np.isfinite(weight).all() for weight in model.get_weights())
        assert not np.array_equal(before[0], model.get_weights()[0])


def test_fine_tunes_a_trained_model():
    """What a `fit` without the honeypot left is gone on from."""
    x, y = made()
    model = dense()
    model.fit(x, y, epochs=1, verbose=0)
    iterations = int(model.optimizer.iterations)
    plant(model, x, y)
    assert int(model.optimizer.iterations) == iterations + 6


def test_several_replicas_train_as_one(tmp_path):
    """Under MirroredStrategy over two logical CPUs; all replicas end with the same, finite weights.

    By the recipe that has all that there is: attacks, alignment, random patterns and what was made on other models.
    """
    code = """
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import honeykeras as hk
from honeykeras import surrogates
surrogates.STEPS = 3
x = np.random.default_rng(0).random((96, 6, 6, 1), dtype=np.float32)
y = np.arange(96) % 4
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
honeypot = hk.Honeypot(hk.WatermarkKey(bytes(32), (6, 6, 1), 4), "hardened")
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(32).apply(honeypot.poison)
model.fit(data, epochs=2, callbacks=[hk.HoneyCallback(honeypot)], verbose=0, shuffle=False)
kernel = model.trainable_variables[0].value
copies = [copy.numpy() for copy in strategy.experimental_local_results(kernel)]
assert len(copies) == 2 and np.array_equal(*copies) and np.isfinite(copies).all()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
