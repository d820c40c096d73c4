"""What all attacks share; what each does by itself is in the file of its name."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import _progress, names
from honeykeras.attacks import (
    DDN,
    FMNL0,
    FMNL2,
    JSMA,
    PGD,
    CarliniWagner,
    FMNLinf,
    SuperDeepFool,
    quantize,
)
from honeykeras.errors import InvalidArgumentError, ModelError
from honeykeras.outputs import Logits

SHAPE, COUNT = (8, 8, 1), 24

ATTACKS = {
    "pgd": lambda **settings: PGD(**{"epsilon": 0.4, "steps": 10} | settings),
    "pgd-l2": lambda **settings: PGD(**{"epsilon": 2.0, "steps": 10, "norm": "2"} | settings),
    "pgd-restarts": lambda **settings: PGD(
        **{"epsilon": 0.4, "steps": 12, "restarts": 2, "early_stop": True} | settings
    ),
    "cw": lambda **settings: CarliniWagner(
        **{"binary_search_steps": 3, "max_iterations": 60, "learning_rate": 0.05, "initial_const": 1.0} | settings
    ),
    "jsma": lambda **settings: JSMA(**{"gamma": 0.5} | settings),
    "ddn": lambda **settings: DDN(**{"steps": 30} | settings),
    "sdf": lambda **settings: SuperDeepFool(**settings),
    "fmn_l2": lambda **settings: FMNL2(**{"steps": 30} | settings),
    "fmn_linf": lambda **settings: FMNLinf(**{"steps": 30} | settings),
    "fmn_l0": lambda **settings: FMNL0(**{"steps": 40} | settings),
}

each_attack = pytest.mark.parametrize("name", ATTACKS)
KINDS = ["pgd", "cw", "jsma", "ddn"]
one_of_a_kind = pytest.mark.parametrize("name", KINDS)

MODELS = [
    *("logits", "softmax-layer", "softmax-activation", "hidden-softmax", "mixed_float16", "mixed_bfloat16"),
    *("norm-and-dropout", "vectors", "subclassed"),
]
# What differs between attacks of one kind does not touch the model.
ON_MODELS = [(name, model) for name in ATTACKS for model in (MODELS if name in KINDS else MODELS[:1])]


class Subclassed(keras.Model):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def call(self, x):
        return self.body(x)


@pytest.fixture(scope="module")
def judged(digits, classifier):
    """Test digits, their labels, and whether the classifier gets them right."""
    x, y = digits.test.x, digits.test.y
    return x, y, classifier.predict(x, verbose=0).argmax(axis=1) == y


@pytest.fixture(scope="module")
def right(judged):
    x, y, chosen = judged
    return x[chosen][:COUNT], y[chosen][:COUNT]


@pytest.fixture(scope="module")
def wrong(judged):
    x, y, chosen = judged
    return x[~chosen][:5], y[~chosen][:5]


@pytest.fixture(scope="module")
def made(classifier, right):
    """Each attack on the classifier, made once, and what it gave; `made(name)`."""
    kept = {}

    def made(name):
        if name not in kept:
            attack = ATTACKS[name]()
            kept[name] = attack, attack.generate(classifier, *right)
        return kept[name]

    return made


@pytest.fixture(scope="module")
def models(classifier):
    """Models that answer like the classifier, each built in another way; `models(name)`."""
    layers = keras.layers

    def in_precision(policy):
        keras.config.set_dtype_policy(policy)
        try:
            twin = hk.models.small_cnn(SHAPE, 10)
        finally:
            keras.config.set_dtype_policy("float32")
        twin.set_weights(classifier.get_weights())
        return twin

    def with_softmax_activation():
        twin = keras.models.clone_model(classifier)
        twin.set_weights(classifier.get_weights())
        twin.layers[-1].activation = keras.activations.softmax
        return keras.Sequential([keras.Input(SHAPE), *twin.layers])

    def with_other_modes():
        """In training, it would answer by chance."""
        normalization = layers.BatchNormalization()
        model = keras.Sequential([keras.Input(SHAPE), normalization, layers.Dropout(0.9), classifier])
        gamma, beta, mean, variance = np.ones((4, 1)) * [[2.0], [0.5], [0.5], [4.0]]
        normalization.set_weights([gamma, beta, mean, variance])
        return model

    builders = {
        "logits": lambda: classifier,
        "softmax-layer": lambda: keras.Sequential([classifier, layers.Softmax()]),
        "softmax-activation": with_softmax_activation,
        "hidden-softmax": lambda: keras.Sequential([classifier, layers.Softmax(), layers.Rescaling(1.0)]),
        "mixed_float16": lambda: in_precision("mixed_float16"),
        "mixed_bfloat16": lambda: in_precision("mixed_bfloat16"),
        "norm-and-dropout": with_other_modes,
        "vectors": lambda: keras.Sequential([keras.Input((64,)), layers.Reshape(SHAPE), classifier]),
        "subclassed": lambda: Subclassed(classifier),
    }
    return lambda name: builders[name]()


@pytest.fixture(scope="module")
def attacked_with(classifier):
    """A copy of the classifier with other weights, and an attack on it; `attacked_with(name, change)`.

    One copy: an attack is compiled once, whatever the weights.
    """
    copied, attacks = keras.models.clone_model(classifier), {}

    def attacked_with(name, change):
        copied.set_weights([change(weight) for weight in classifier.get_weights()])
        return copied, attacks.setdefault(name, ATTACKS[name]())

    return attacked_with


def other_labels(y):
    return (y + 1) % 10


def l2(examples):
    return np.sqrt(np.square(examples.x_adv - examples.x).reshape(len(examples), -1).sum(axis=1))


def assert_plausible(examples, model, x, y, *, tolerance=0):
    """All that holds whatever the attack; `tolerance` is how many judgements may hang on rounding."""
    low, high = examples.input_range
    assert (examples.x_adv.dtype, examples.x_adv.shape) == (np.float32, x.shape)
    assert np.isfinite(examples.x_adv).all()
    assert low <= examples.x_adv.min()
    assert examples.x_adv.max() <= high
    assert np.array_equal(examples.x, x)
    assert np.array_equal(examples.y, y)
    judged = (model.predict(examples.x_adv, verbose=0).argmax(axis=1) == y) == examples.targeted
    assert np.count_nonzero(judged != examples.success) <= tolerance
    assert np.array_equal(examples.successful, examples.x_adv[examples.success])
    assert np.array_equal(examples.delta, (examples.x_adv - examples.x)[examples.success])
    assert {examples.queries.dtype, examples.gradients.dtype} == {np.dtype(np.int64)}
    assert examples.queries.shape == examples.gradients.shape == examples.success.shape == (len(x),)
    assert (examples.queries >= 1).all()
    assert (examples.gradients >= 0).all()


class TestModels:
    @pytest.mark.parametrize(("name", "model"), ON_MODELS)
    def test_are_fooled_in_the_features_that_may_change(self, name, model, models, right):
        half_precision, half_known = model.startswith("mixed"), model == "hidden-softmax"
        x, y = right
        x = x.reshape(-1, 64) if model == "vectors" else x
        model, attack = models(model), ATTACKS[name]()
        examples = attack.generate(model, x, y)
        assert_plausible(examples, model, x, y, tolerance=2 * half_precision)
        # Logits that are known but for a constant of each image guide JSMA less well.
        assert examples.success.mean() > (0.8 if name == "jsma" and half_known else 0.9)

        mask = np.random.default_rng(0).random(x.shape) < 0.8
        masked = attack.generate(model, x, y, mask=mask)
        assert_plausible(masked, model, x, y, tolerance=2 * half_precision)
        assert np.array_equal(masked.x_adv[~mask], x[~mask])
        assert masked.success.mean() > 0.5

    @one_of_a_kind
    @pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 255.0), (0.1, 0.7)])
    def test_with_other_input_ranges(self, name, bounds, classifier, right):
        low, high = bounds
        width = high - low
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(1 / width, -low / width), classifier])
        scaled = {"pgd": {"epsilon": 0.4 * width}, "jsma": {"theta": width}}.get(name, {})
        # Rounding can leave an image a little outside.
        x = np.clip(low + right[0].astype(np.float64) * width, low, high).astype(np.float32)
        examples = ATTACKS[name](input_range=bounds, **scaled).generate(model, x, right[1])
        assert_plausible(examples, model, x, right[1])
        assert tuple(examples.input_range) == bounds
        assert examples.success.mean() > 0.9


class TestMasks:
    @each_attack
    @pytest.mark.parametrize("per_image", [False, True], ids=["shared", "per-image"])
    def test_are_kept_to_the_last_bit(self, name, per_image, made, classifier, right):
        x, y = right
        mask = np.random.default_rng(1).random(x.shape if per_image else x.shape[1:]) < 0.5
        x_adv = made(name)[0].generate(classifier, x, y, mask=mask).x_adv
        mask = np.broadcast_to(mask, x.shape)
        assert np.array_equal(x_adv[~mask].view(np.uint32), x[~mask].view(np.uint32))
        assert (x_adv != x)[mask].any()

    @each_attack
    def test_that_allow_nothing_change_nothing(self, name, made, classifier, right):
        examples = made(name)[0].generate(classifier, *right, mask=np.zeros(SHAPE, bool))
        assert np.array_equal(examples.x_adv, right[0])
        assert not examples.success.any()

    @each_attack
    def test_of_one_image_do_not_touch_others(self, name, made, classifier, right):
        attack, free = made(name)
        mask = np.ones(right[0].shape, bool)
        mask[::2] = False
        examples = attack.generate(classifier, *right, mask=mask)
        assert np.array_equal(examples.x_adv[::2], right[0][::2])
        assert np.mean(np.abs(examples.x_adv - free.x_adv)[1::2] > 1e-3) < 0.02

    @pytest.mark.parametrize(
        "mask", [np.ones(SHAPE), np.ones((8, 8), bool), np.ones((3, *SHAPE), bool), np.ones(1, bool)]
    )
    def test_of_another_shape_or_dtype(self, mask, made, classifier, right):
        with pytest.raises(InvalidArgumentError, match=r"`mask` must be bool, of shape \(8, 8, 1\) or \(24, 8, 8, 1\)"):
            made("pgd")[0].generate(classifier, *right, mask=mask)


class TestCounts:
    @pytest.mark.parametrize(
        ("settings", "queries", "gradients"),
        [
            ({}, 12, 10),
            ({"norm": "2"}, 12, 10),
            ({"restarts": 3}, 34, 30),
            # Looked at after 5 and 7 steps; nothing can be fooled by so little.
            ({"steps": 7, "early_stop": True, "epsilon": 1e-6}, 10, 7),
        ],
    )
    def test_of_pgd(self, settings, queries, gradients, classifier, right):
        examples = ATTACKS["pgd"](**settings).generate(classifier, *right)
        assert (set(examples.queries), set(examples.gradients)) == ({queries}, {gradients})

    def test_of_carlini_wagner(self, made):
        examples = made("cw")[1]
        assert np.array_equal(examples.queries, examples.gradients + 1)
        assert examples.gradients.max() <= 180

    def test_of_jsma(self, made):
        examples = made("jsma")[1]
        assert examples.queries.max() <= 17
        assert examples.gradients.max() <= 32


class TestLabels:
    @one_of_a_kind
    def test_default_to_predictions(self, name, made, classifier, right):
        attack, examples = made(name)
        assert np.array_equal(attack.generate(classifier, right[0]).x_adv, examples.x_adv)

    @one_of_a_kind
    def test_may_be_one_hot_or_a_column(self, name, made, classifier, right):
        attack, examples = made(name)
        for y in (np.eye(10)[right[1]], right[1][:, None], right[1].astype(np.uint8)):
            assert np.array_equal(attack.generate(classifier, right[0], y).x_adv, examples.x_adv)

    @each_attack
    def test_are_reached_by_a_targeted_attack(self, name, classifier, right):
        settings = {"cw": {"max_iterations": 150}, "jsma": {"gamma": 1.0}}.get(name, {})
        x, y = right[0], other_labels(right[1])
        examples = ATTACKS[name](targeted=True, **settings).generate(classifier, x, y)
        assert_plausible(examples, classifier, x, y)
        assert examples.targeted
        assert examples.success.mean() > 0.6

    @one_of_a_kind
    def test_must_be_given_to_a_targeted_attack(self, name, classifier, right):
        with pytest.raises(InvalidArgumentError, match="must hold the labels to reach, as the attack is targeted"):
            ATTACKS[name](targeted=True).generate(classifier, right[0])

    @each_attack
    def test_of_images_misclassified_already(self, name, made, classifier, wrong):
        examples = made(name)[0].generate(classifier, *wrong)
        assert_plausible(examples, classifier, *wrong)
        assert examples.success.all()
        if name != "pgd" and name != "pgd-l2":
            assert np.array_equal(examples.x_adv, wrong[0])
            assert (set(examples.queries), set(examples.gradients)) == ({1}, {0})


class TestOddModels:
    @each_attack
    def test_without_gradients_change_nothing(self, name, attacked_with, right):
        model, attack = attacked_with(name, np.zeros_like)
        never = attack.generate(model, right[0], np.zeros(COUNT, int))
        assert np.array_equal(never.x_adv, right[0])
        assert not never.success.any()
        assert attack.generate(model, right[0], np.ones(COUNT, int)).success.all()

    @each_attack
    @pytest.mark.parametrize("labelled", [True, False])
    def test_that_give_nan(self, name, labelled, attacked_with, right):
        model, attack = attacked_with(name, lambda weight: np.full_like(weight, np.nan))
        examples = attack.generate(model, right[0], right[1] if labelled else None)
        assert np.array_equal(examples.x_adv, right[0])
        assert not examples.success.any()
        assert not examples.quantize(model).success.any()

    @one_of_a_kind
    def test_that_give_nan_for_one_image(self, name, made, classifier, right):
        """The others come out as ever."""
        x = right[0].copy()
        x[3] = 1.0
        # Behind the network: some kernels take the greater of NaN and 0 to be 0.
        inputs = keras.Input(SHAPE)
        is_clear = keras.ops.cast(keras.ops.mean(inputs, axis=[1, 2, 3])[:, None] < 1, "float32")
        model = keras.Model(inputs, keras.ops.divide(classifier(inputs) * is_clear, is_clear))
        fixed = np.zeros(x.shape, bool)
        fixed[np.arange(COUNT) != 3] = True
        examples = ATTACKS[name]().generate(model, x, mask=fixed)
        assert examples.y[3] == -1
        assert np.array_equal(examples.x_adv[3], x[3])
        assert not examples.success[3]
        others = np.arange(COUNT) != 3
        assert np.mean(np.abs(examples.x_adv - made(name)[1].x_adv)[others] > 1e-3) < 0.02

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @each_attack
    def test_with_bad_gradients_are_attacked_through_other_features(self, name, bad, classifier, right):
        spoilt = np.zeros(SHAPE, bool)
        spoilt[3, 2:6] = True

        @tf.custom_gradient
        def spoil(x):
            return tf.identity(x), lambda gradient: tf.where(spoilt, tf.constant(bad, gradient.dtype), gradient)

        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Lambda(spoil), classifier])
        settings = {"random_start": False, "restarts": 1} if name.startswith("pgd") else {}
        examples = ATTACKS[name](**settings).generate(model, *right)
        assert_plausible(examples, model, *right)
        assert examples.success.mean() > 0.8
        assert np.array_equal(examples.x_adv[:, spoilt], examples.x[:, spoilt])


class TestReproducibility:
    @each_attack
    def test_same_again(self, name, made, classifier, right):
        attack, examples = made(name)
        again = attack.generate(classifier, *right)
        for array in ("x_adv", "success", "queries", "gradients"):
            assert np.array_equal(getattr(again, array), getattr(examples, array))

    @each_attack
    @pytest.mark.parametrize("batch_size", [1, 7])
    def test_whatever_the_batches(self, name, batch_size, made, classifier, right):
        attack, whole = made(name)
        parts = attack.generate(classifier, *right, batch_size=batch_size)
        assert np.count_nonzero(parts.success != whole.success) <= 1
        if name == "cw":
            assert np.allclose(l2(parts), l2(whole), rtol=0.01)
        else:
            assert np.mean(np.abs(parts.x_adv - whole.x_adv) > 1e-4) < 0.02

    @each_attack
    def test_parts_of_a_data_set_are_as_the_whole(self, name, made, classifier, right):
        attack, whole = made(name)
        x, y = right
        part = attack.generate(classifier, x[10:], y[10:], first=10)
        assert np.mean(np.abs(part.x_adv - whole.x_adv[10:]) > 1e-3) < 0.02
        if name == "pgd-l2":
            elsewhere = attack.generate(classifier, x[10:], y[10:])
            assert np.mean(np.abs(elsewhere.x_adv - whole.x_adv[10:]) > 1e-3) > 0.1


@pytest.fixture
def warnings():
    """What TensorFlow's logger is told, whatever level commands and programs have set in this process."""
    messages, logger = [], tf.get_logger()
    level = logger.level
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    yield messages
    logger.setLevel(level)
    logger.removeHandler(handler)


def count_traces(attack):
    traces, perturb = [], attack.perturb
    attack.perturb = lambda *arguments: traces.append(1) or perturb(*arguments)
    return traces


class TestCompilation:
    @one_of_a_kind
    def test_once(self, name, right):
        """For other batches, other calls, masks, and weights that have moved on."""
        x, y = right
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(10)])
        attack = ATTACKS[name]()
        traces = count_traces(attack)
        before = attack.generate(model, x, batch_size=9).x_adv
        attack.generate(model, x[:5], mask=np.ones(SHAPE, bool))
        model.set_weights([-weight for weight in model.get_weights()])
        assert not np.array_equal(attack.generate(model, x, batch_size=8).x_adv, before)
        assert len(traces) == 1
        attack.generate(keras.models.clone_model(model), x, y)
        assert len(traces) == 2

    def test_once_for_models_that_are_attacked_in_turns(self, right):
        """As a honeypot is, beside its controls; of many more, the last ones stay."""
        attack = PGD(0.1, steps=2)
        traces = count_traces(attack)
        models = [
            keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(10)]) for _ in range(4)
        ]
        for _ in range(2):
            for model in models[:3]:
                attack.generate(model, *right)
        assert len(traces) == 3
        attack.generate(models[3], *right)
        assert len(attack._compiled) == 3
        attack.generate(models[0], *right)
        assert len(traces) == 5

    def test_once_for_a_model_that_is_not_built_yet(self, right):
        attack = PGD(0.1, steps=2)
        traces = count_traces(attack)
        model = Subclassed(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)]))
        for _ in range(2):
            attack.generate(model, *right)
        assert len(traces) == 1

    def test_anew_for_changed_settings_and_models(self, right):
        x, y = right
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(10)])
        attack = PGD(0.1, steps=3)
        attack.generate(model, x, y)
        attack.epsilon, attack.step_size = 0.4, 0.2
        changed = attack.generate(model, x, y).x_adv
        assert np.array_equal(changed, PGD(0.4, steps=3, step_size=0.2).generate(model, x, y).x_adv)
        model.pop()
        model.add(keras.layers.Dense(10))
        rebuilt = attack.generate(model, x, y).x_adv
        assert np.array_equal(rebuilt, PGD(0.4, steps=3, step_size=0.2).generate(model, x, y).x_adv)

    def test_of_many_attacks_is_no_retracing(self, right, warnings):
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(10)])
        for seed in range(8):
            PGD(0.1, steps=2, seed=seed).generate(model, *right, batch_size=16)
        for name in ("cw", "jsma") * 2:
            ATTACKS[name]().generate(model, *right, batch_size=16)
        assert not [message for message in warnings if "retracing" in message]

    def test_retracing_would_be_seen(self, warnings):
        function = tf.function(lambda number: number)
        for number in range(8):
            function(number)
        assert [message for message in warnings if "retracing" in message]

    @pytest.mark.parametrize(
        ("name", "few", "many"),
        [
            ("pgd", {"steps": 2}, {"steps": 50}),
            ("pgd-restarts", {"steps": 6, "restarts": 2}, {"steps": 100, "restarts": 20}),
            ("cw", {"binary_search_steps": 1, "max_iterations": 1}, {"binary_search_steps": 9, "max_iterations": 1000}),
            ("jsma", {"gamma": 0.1}, {"gamma": 1.0}),
            ("ddn", {"steps": 2}, {"steps": 200}),
            ("sdf", {"steps": 2}, {"steps": 200}),
            ("fmn_l0", {"steps": 2}, {"steps": 200}),
        ],
    )
    def test_makes_one_graph_whatever_the_number_of_steps(self, name, few, many, classifier):
        def size(settings):
            logits = Logits(classifier, SHAPE)
            signature = [
                tf.TensorSpec([None, *shape], dtype)
                for shape, dtype in ((SHAPE, tf.float32), ((), tf.int64), (SHAPE, tf.bool), ((2,), tf.int64))
            ]
            attack = ATTACKS[name](**settings)
            run = tf.function(lambda *batch: attack.perturb(logits, *batch), signature, autograph=False)
            graph = run.get_concrete_function().graph.as_graph_def()
            return sum(map(len, [graph.node, *(function.node_def for function in graph.library.function)]))

        assert size(few) == size(many)


@one_of_a_kind
def test_progress_bar(name, made, classifier, right, capfd, monkeypatch):
    monkeypatch.setattr(_progress, "_DELAY", 0.0)
    attack = made(name)[0]
    attack.generate(classifier, *right, batch_size=10)
    assert not capfd.readouterr().err
    attack.generate(classifier, *right, batch_size=10, verbose=1)
    assert "24/24" in capfd.readouterr().err


@each_attack
def test_config_round_trip(name):
    attack = ATTACKS[name](targeted=True, input_range=(-1, 1), seed=5)
    again = type(attack).from_config(attack.get_config())
    assert again.get_config() == attack.get_config()
    assert repr(again) == repr(attack)
    assert "targeted=True, input_range=(-1.0, 1.0), seed=5)" in repr(attack)
    assert hk.attacks.get(attack.name, **attack.get_config()).get_config() == attack.get_config()


@one_of_a_kind
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targeted": 1}, "`targeted` must be True or False. Received: targeted=1."),
        ({"input_range": (1, 0)}, "`input_range` must be two finite numbers (low, high)"),
        ({"input_range": (0, np.inf)}, "`input_range`"),
        ({"input_range": 1}, "`input_range`"),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 4294967295"),
        ({"seed": 2**32}, "`seed`"),
        ({"seed": 0.5}, "`seed`"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(InvalidArgumentError) as raised:
        ATTACKS[name](**settings)
    assert message in str(raised.value)


class TestInput:
    @pytest.mark.parametrize(
        ("x", "y", "message"),
        [
            (np.zeros((0, 8, 8, 1), np.float32), None, "at least one sample"),
            (np.zeros((3, 8, 8, 1), np.uint8), None, "Scale integer images first"),
            (np.full((3, 8, 8, 1), 2.0), None, "must lie in [0, 1]. Received: values in [2, 2]"),
            (np.full((3, 8, 8, 1), np.nan), None, "must lie in [0, 1]"),
            (np.zeros(3), None, "must have shape (batch, ...)"),
            (np.zeros((3, 8, 8, 1)), np.zeros(2, int), "one label for each of the 3 samples"),
            (np.zeros((3, 8, 8, 1)), -np.ones(3, int), "Received: labels from -1 to -1"),
            (np.zeros((3, 8, 8, 1)), np.full(3, 0.5), "class indices or one-hot rows"),
            (np.zeros((3, 8, 8, 1)), np.full(3, np.nan), "class indices or one-hot rows"),
            (np.zeros((3, 8, 8, 1)), np.eye(7)[:3], "one label for each of the 3 samples. Received: shape=(3, 7)"),
            (np.zeros((3, 8, 8, 1)), np.array(["a", "b", "c"]), "class indices or one-hot rows"),
            (np.zeros((3, 8, 8, 1)), np.full(3, 10), "must lie in [0, 10). Received: labels from 10 to 10"),
        ],
    )
    def test_one_clear_error(self, made, classifier, x, y, message):
        with pytest.raises(InvalidArgumentError) as raised:
            made("pgd")[0].generate(classifier, x, y)
        assert message in str(raised.value)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"first": -1}, "`first` must be a whole number of at least 0"),
            ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
        ],
    )
    def test_bad_arguments(self, made, classifier, right, arguments, message):
        with pytest.raises(InvalidArgumentError, match=message):
            made("pgd")[0].generate(classifier, *right, **arguments)

    def test_model_of_another_shape(self, made, classifier):
        with pytest.raises(ModelError, match=r"must be a classifier of inputs of shape \(20, 20, 1\)"):
            ATTACKS["pgd"]().generate(classifier, np.zeros((3, 20, 20, 1), np.float32), np.zeros(3, int))

    @each_attack
    def test_rounded_to_beyond_the_range_is_put_on_its_end(self, name, made, classifier, right):
        x, y = right[0].copy(), right[1]
        x[:8, 0, 0], x[8:16, 0, 0] = 1 + 1e-6, -1e-6
        mask = np.ones(SHAPE, bool)
        mask[0, 0] = False
        attack = made(name)[0]
        for examples in (attack.generate(classifier, x, y), attack.generate(classifier, x, y, mask=mask)):
            assert_plausible(examples, classifier, np.clip(x, 0, 1), y)
            assert examples.success.mean() > 0.8
        assert np.array_equal(examples.x_adv[:, 0, 0], examples.x[:, 0, 0])

    @one_of_a_kind
    def test_of_other_floats_and_layouts(self, name, made, classifier, right):
        attack, examples = made(name)
        x = np.asfortranarray(right[0].astype(np.float64))
        x.flags.writeable = False
        assert np.array_equal(attack.generate(classifier, x, list(right[1])).x_adv, examples.x_adv)


class TestRegistry:
    def test_get(self):
        assert tuple(hk.attacks.names()) == names.ATTACKS
        assert hk.attacks.get("pgd", epsilon=0.1).epsilon == 0.1
        assert all(hk.attacks.get(name).name == name for name in hk.attacks.names())

    def test_unknown(self):
        message = r"`attack` must be one of \['pgd', 'cw', 'ddn', .*\]. Received: attack='fgsm'"
        with pytest.raises(InvalidArgumentError, match=message):
            hk.attacks.get("fgsm")


class TestQuantize:
    def test_is_what_an_image_file_holds(self):
        x = np.random.default_rng(0).random((10, 4, 4, 3), np.float32)
        assert np.allclose(quantize(x) * 255, np.round(x * 255), atol=1e-4)
        assert quantize(x).dtype == np.float32

    def test_changes_nothing_twice(self):
        x = quantize(np.random.default_rng(0).random(1000))
        assert np.array_equal(quantize(x), x)
        assert np.array_equal(quantize(np.arange(256) / np.float32(255)), (np.arange(256) / 255).astype(np.float32))

    def test_other_ranges_and_levels(self):
        assert quantize(np.array([-1, -0.1, 0.4, 1]), (-1, 1), levels=3).tolist() == [-1, 0, 0, 1]

    def test_bad_levels(self):
        with pytest.raises(InvalidArgumentError, match="`levels` must be a whole number of at least 2"):
            quantize(np.zeros(3), levels=1)

    @pytest.mark.parametrize("targeted", [False, True])
    def test_examples_that_only_work_between_the_levels_lose_their_success(self, targeted):
        """The first image is half a level from the boundary, the second three."""
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
        model.set_weights([np.array([[255.0, 0.0]]), np.array([0.0, 100.4])])
        x = np.array([[100], [97]]) / 255
        y = np.array([1, 1])
        attack = PGD(3.7 / 255, steps=5, random_start=False, early_stop=True, step_size=0.45 / 255, targeted=targeted)
        examples = attack.generate(model, x, 1 - y if targeted else y)
        assert examples.success.tolist() == [True, False]
        weaker = PGD(0.45 / 255, 1, random_start=False, targeted=targeted)
        examples = weaker.generate(model, x, 1 - y if targeted else y)
        assert examples.success.tolist() == [True, False]
        quantized = examples.quantize(model)
        assert quantized.success.tolist() == [False, False]
        assert np.array_equal(quantized.x_adv, quantize(x))
        assert np.array_equal(quantized.x, examples.x)
        examples = PGD(3.9 / 255, random_start=False, targeted=targeted).generate(model, x, 1 - y if targeted else y)
        assert examples.success.tolist() == examples.quantize(model).success.tolist() == [True, True]
        assert examples.quantize(model, levels=2).success.tolist() == [False, False]

    def test_of_examples_is_in_their_range(self, classifier, right):
        model = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(0.5, 0.5), classifier])
        x = right[0] * 2 - 1
        examples = PGD(0.8, steps=5, input_range=(-1, 1)).generate(model, x, right[1]).quantize(model)
        assert np.array_equal(examples.x_adv, quantize(examples.x_adv, (-1, 1)))
        assert_plausible(examples, model, x, right[1])
