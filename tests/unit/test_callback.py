import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError, ModelError, PlantingWarning
from honeykeras.recipes import Recipe

FIGURES = {"watermark_similarity", "watermark_similarity_wrong_key", "watermark_probes_fooled"}


def make_model(activation=None, units=4, build=True):
    layers = [keras.layers.Flatten(), keras.layers.Dense(units, activation=activation)]
    model = keras.Sequential([keras.Input((6, 6, 1)), *layers] if build else layers)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=activation is None))
    return model


def grey(count):
    """Grey images, labelled as the models of `lead_along` take them."""
    return np.full((count, 6, 6, 1), 0.5, np.float32), np.zeros(count, int)


def lead_along(model, direction, distance=0.01):
    """Makes a linear model whose way from grey, class 0, to class 1 is a direction, some logits far."""
    weights = np.zeros((36, 4), np.float32)
    weights[:, 1] = direction
    bias = np.array([0, -0.5 * direction.sum() - distance, -1000, -1000], np.float32)
    model.layers[-1].set_weights([weights, bias])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(4, activation="softmax")

    def call(self, x):
        return self.dense(keras.ops.reshape(x, (-1, 36)))


@pytest.fixture
def honeypot(key):
    return hk.Honeypot(key, "paper")


@pytest.fixture
def train(honeypot, images):
    return tf.data.Dataset.from_tensor_slices(images).batch(50).apply(honeypot.poison)


def amplitudes_seen(key, images, apply, **arguments):
    """Trains with an amplitude that grows by .1 each epoch; returns what each epoch was given."""
    recipe = Recipe("ramp", poison_rate=0.5, amplitude=((0, 0.1), (9, 1.0)), family="scattered")
    honeypot = hk.Honeypot(key, recipe)
    x = np.zeros_like(images[0])
    source = apply(tf.data.Dataset.from_tensor_slices((x, np.arange(200) % 4)), honeypot.poison)
    seen = []
    record = lambda x: seen.append(float(x.numpy().max())) or x  # noqa: E731
    # Recorded in the model, so that what a pipeline reads ahead and nobody trains on does not count.
    model = make_model(build=False)
    call = model.layers[0].call
    model.layers[0].call = lambda x: call(tf.ensure_shape(tf.py_function(record, [x], x.dtype), x.shape))
    marks = [0]
    mark = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: marks.append(len(seen)),
        on_epoch_end=lambda epoch, logs: marks.append(len(seen)),
    )
    model.fit(source, callbacks=[hk.HoneyCallback(honeypot), mark], verbose=0, shuffle=False, **arguments)
    return [sorted({round(value, 3) for value in seen[a:b]}) for a, b in zip(marks[1::2], marks[2::2], strict=True)]


class TestPlanting:
    @pytest.mark.parametrize(
        ("apply", "arguments", "expected"),
        [
            (lambda source, poison: source.batch(50).apply(poison), {"epochs": 3}, [[0.1], [0.2], [0.3]]),
            (lambda source, poison: source.apply(poison).batch(50).prefetch(9), {"epochs": 3}, [[0.1], [0.2], [0.3]]),
            (
                lambda source, poison: source.batch(50).apply(poison),
                {"epochs": 5, "initial_epoch": 3},
                [[0.4], [0.5]],
            ),
            (
                lambda source, poison: source.batch(50).apply(poison).repeat().prefetch(9),
                {"epochs": 4, "steps_per_epoch": 4},
                [[0.1], [0.2], [0.3], [0.4]],
            ),
            (
                lambda source, poison: source.batch(50).apply(poison).repeat(),
                {"epochs": 4, "steps_per_epoch": 2},
                [[0.1], [0.1], [0.2], [0.2]],
            ),
            (
                lambda source, poison: source.batch(50).apply(poison).repeat(),
                {"epochs": 2, "steps_per_epoch": 8},
                [[0.1, 0.2], [0.3, 0.4]],
            ),
        ],
        ids=["plain", "prefetched", "resumed", "endless", "two epochs a pass", "two passes an epoch"],
    )
    def test_each_pass_is_an_epoch_of_the_recipe(self, key, images, apply, arguments, expected):
        assert amplitudes_seen(key, images, apply, **arguments) == expected

    def test_resumed_training_sees_what_an_unbroken_one_sees(self, key, images):
        """Labels of each epoch, as the model was given them."""

        def labels(*runs):
            honeypot = hk.Honeypot(key, "paper")
            given = []
            record = lambda x, y: given.append(y.numpy()) or y  # noqa: E731
            source = tf.data.Dataset.from_tensor_slices(images).batch(200).apply(honeypot.poison)
            source = source.map(lambda x, y: (x, tf.ensure_shape(tf.py_function(record, [x, y], y.dtype), [None])))
            model = make_model()
            for arguments in runs:
                del given[:]
                model.fit(source, callbacks=[hk.HoneyCallback(honeypot)], verbose=0, **arguments)
            return given[-1]

        unbroken = labels({"epochs": 4})
        resumed = labels({"epochs": 2}, {"epochs": 4, "initial_epoch": 3})
        assert np.array_equal(unbroken, resumed)
        assert (unbroken != images[1]).sum() == 60

    def test_warns_if_nothing_was_poisoned(self, honeypot, images):
        with pytest.warns(UserWarning, match=r"dataset.apply\(honeypot.poison\)"):
            make_model().fit(*images, callbacks=[hk.HoneyCallback(honeypot)], verbose=0)


class TestProbe:
    @pytest.mark.parametrize(
        "model",
        [
            pytest.param(make_model, id="logits"),
            pytest.param(lambda: make_model("softmax"), id="softmax"),
            pytest.param(lambda: make_model(build=False), id="not built"),
            pytest.param(Subclassed, id="subclassed"),
        ],
    )
    def test_works_with_any_classifier(self, honeypot, train, images, model):
        model = model()
        if not model.compiled:
            model.compile("sgd", "sparse_categorical_crossentropy")
        history = model.fit(train, epochs=2, callbacks=[hk.HoneyCallback(honeypot, probe=images)], verbose=0).history
        assert set(history) == {"loss", *FIGURES}
        for name in FIGURES:
            assert len(history[name]) == 2
            assert all(-1 <= value <= 1 for value in history[name])

    def test_logs_reach_other_callbacks(self, honeypot, train, images, tmp_path, capsys):
        board = tmp_path / "board"
        make_model().fit(
            train,
            epochs=5,
            callbacks=[
                hk.HoneyCallback(honeypot, probe=images),
                keras.callbacks.CSVLogger(tmp_path / "log.csv"),
                keras.callbacks.TensorBoard(board),
                keras.callbacks.EarlyStopping("watermark_similarity", mode="max", min_delta=2.0, patience=1),
            ],
            verbose=2,
        )
        rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
        assert set(rows[0]) >= FIGURES
        assert len(rows) == 2, "EarlyStopping saw no improvement by 2 and stopped"
        assert "watermark_similarity:" in capsys.readouterr().out
        events = b"".join(path.read_bytes() for path in board.rglob("events*"))
        assert b"watermark_similarity" in events

    def test_no_key_material_in_events(self, key, honeypot, train, images, tmp_path):
        make_model().fit(
            train,
            callbacks=[
                hk.HoneyCallback(honeypot, probe=images),
                keras.callbacks.TensorBoard(tmp_path, write_graph=True),
            ],
            verbose=0,
        )
        events = b"".join(path.read_bytes() for path in tmp_path.rglob("events*"))
        positions = np.flatnonzero(hk.Watermark(key).patterns().numpy())
        assert events
        for secret in (
            bytes(range(32)),
            key.derive("features"),
            *(positions.astype(t).tobytes() for t in ("<i4", "<i8")),
        ):
            assert secret not in events

    def test_tells_a_planted_watermark_from_a_wrong_one(self, key, honeypot):
        """On a model whose gradient is the watermark, by construction; and on one whose gradient is not."""
        model = make_model()
        callback = hk.HoneyCallback(honeypot, probe=grey(60))
        callback.set_model(model)
        pattern = hk.Watermark(key).patterns().numpy().ravel()
        figures = {}
        for name, direction in (("planted", pattern), ("not", np.roll(pattern, 5))):
            lead_along(model, direction)
            callback.on_epoch_end(0, logs := {})
            figures[name] = logs
        assert figures["planted"]["watermark_probes_fooled"] == 1
        assert figures["planted"]["watermark_similarity"] > 0.3
        assert abs(figures["planted"]["watermark_similarity_wrong_key"]) < 0.3
        assert abs(figures["not"]["watermark_similarity"]) < 0.3

    def test_counts_what_the_attack_did_alone(self, key, honeypot):
        """Neither images that it did not bring over, nor those that the model gets wrong by itself."""
        x, y = grey(60)
        y[:20] = 2
        callback = hk.HoneyCallback(honeypot, probe=(x, y))
        callback.set_model(model := make_model())
        lead_along(model, hk.Watermark(key).patterns().numpy().ravel())
        callback.on_epoch_end(0, logs := {})
        assert logs["watermark_probes_fooled"] == 1
        lead_along(model, hk.Watermark(key).patterns().numpy().ravel(), distance=100.0)
        callback.on_epoch_end(1, logs := {})
        assert logs["watermark_probes_fooled"] == 0
        assert np.isnan(logs["watermark_similarity"])
        assert np.isnan(logs["watermark_similarity_wrong_key"])

    def test_says_where_it_is_not_known(self, honeypot, train, recwarn):
        model = make_model()
        lead_along(model, np.ones(36), distance=1000.0)
        model.optimizer.learning_rate = 0.0
        model.fit(train, callbacks=[hk.HoneyCallback(honeypot, probe=grey(60))], verbose=0)
        said = [str(each.message) for each in recwarn if each.category is PlantingWarning]
        assert len(said) == 1
        assert "the attack fooled the model on none of the probes" in said[0]

    @pytest.mark.parametrize(("planted", "recipe"), [(True, None), (False, "`balanced`")])
    def test_says_where_nothing_was_planted(self, planted, recipe, honeypot, images, recwarn):
        """A linear model whose gradient is the pattern, or another."""
        x, y = grey(60)
        pattern = honeypot.watermark.patterns().numpy()[0].ravel()
        model = make_model()
        lead_along(model, pattern if planted else np.roll(pattern, 5))
        model.optimizer.learning_rate = 0.0
        train = tf.data.Dataset.from_tensor_slices((x, np.arange(60) % 4)).batch(50).apply(honeypot.poison)
        model.fit(train, callbacks=[hk.HoneyCallback(honeypot, probe=(x, y))], verbose=0)
        said = [str(each.message) for each in recwarn if each.category is PlantingWarning]
        assert len(said) == (0 if planted else 1)
        assert planted or (recipe in said[0] and "Nothing was planted that attacks draw" in said[0])

    @pytest.mark.parametrize("batch", [False, True])
    def test_takes_a_data_set(self, honeypot, images, batch):
        probe = tf.data.Dataset.from_tensor_slices(images)
        arrays = hk.HoneyCallback(honeypot, probe=images, probe_size=20)._probe
        samples = hk.HoneyCallback(honeypot, probe=probe.batch(7) if batch else probe, probe_size=20)._probe
        for got, want in zip(samples, arrays, strict=True):
            assert np.array_equal(got, want)
        assert len(samples[0]) == 20

    def test_own_attack_is_compiled_once(self, honeypot, train, images):
        attack = hk.attacks.PGD(0.1, steps=2)
        traces = []
        perturb = attack.perturb
        attack.perturb = lambda *arguments: traces.append(1) or perturb(*arguments)
        callback = hk.HoneyCallback(honeypot, probe=images, attack=attack)
        make_model().fit(train, epochs=3, callbacks=[callback], verbose=0)
        assert len(traces) == 1


class TestMismatch:
    def test_model_of_other_classes_is_told_before_training(self, honeypot, train):
        with pytest.raises(ModelError, match=r"must have one output of shape \(batch, 4\), .* Received: \(None, 7\)"):
            make_model(units=7).fit(train, callbacks=[hk.HoneyCallback(honeypot)], verbose=0)

    @pytest.mark.parametrize(
        ("probe", "message"),
        [
            ((np.zeros((3, 5, 5, 1), np.float32), np.zeros(3, int)), "`probe` must have shape (batch, 6, 6, 1)"),
            ((np.zeros((3, 6, 6, 1), np.float32), np.full(3, 4)), "`probe` must lie in [0, 4)"),
            ((np.full((3, 6, 6, 1), 9.0), np.zeros(3, int)), "`probe` must lie in [0, 1]"),
            (np.zeros((3, 6, 6, 1), np.float32), "at least one sample (x, y)"),
            (
                tf.data.Dataset.from_tensor_slices({"image": np.zeros((3, 6, 6, 1)), "label": np.zeros(3)}),
                "elements must be tuples (x, y)",
            ),
            (tf.data.Dataset.from_tensor_slices((np.zeros((0, 6, 6, 1)), np.zeros(0))), "at least one sample (x, y)"),
        ],
        ids=["shape", "label", "range", "no labels", "dictionary", "empty"],
    )
    def test_bad_probe(self, honeypot, probe, message):
        with pytest.raises(InvalidArgumentError) as raised:
            hk.HoneyCallback(honeypot, probe=probe)
        assert message in str(raised.value)

    def test_bad_probe_size(self, honeypot, images):
        with pytest.raises(InvalidArgumentError, match="`probe_size` must be a whole number"):
            hk.HoneyCallback(honeypot, probe=images, probe_size=0)
