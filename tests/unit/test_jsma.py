import keras
import numpy as np
import pytest
import tensorflow as tf

from honeykeras.attacks.jsma import JSMA
from honeykeras.attacks.saliency import best_pair
from honeykeras.errors import InvalidArgumentError
from honeykeras.outputs import Logits


@pytest.fixture
def right(digits, classifier):
    """Test digits that the classifier gets right."""
    x, y = digits.test.x, digits.test.y
    chosen = classifier.predict(x, verbose=0).argmax(axis=1) == y
    return x[chosen][:40], y[chosen][:40]


@pytest.fixture
def exact():
    """A classifier whose sums are exact in float32, in whatever order: weights are whole, inputs sixteenths."""
    rng = np.random.default_rng(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(24, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.set_weights([rng.integers(-2, 3, weight.shape).astype(np.float32) for weight in model.get_weights()])
    return model


def other_labels(y):
    return (y + np.random.default_rng(2).integers(1, 10, len(y))) % 10


def pair_by_table(alpha, beta, domain):
    """The best pair of one image from a table of all pairs, or None."""
    domain = domain & np.isfinite(alpha) & np.isfinite(beta)
    alpha, beta = np.where(domain, alpha, -np.inf), np.where(domain, beta, np.inf)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        alphas, betas = alpha[:, None] + alpha, beta[:, None] + beta
        scores = -alphas * betas
    scores[~(np.triu(np.ones_like(alphas, bool), 1) & (alphas > 0) & (betas < 0))] = -np.inf
    p, q = np.unravel_index(scores.argmax(), scores.shape)
    return (p, q) if scores[p, q] > -np.inf else None


def top_two_by_sorting(alpha, beta, domain):
    order = np.argsort(np.where(domain, -alpha, np.inf), kind="stable")
    return [feature for feature in order[:2] if domain[feature]]


def derivatives(model, x, target):
    """Logits, target, alpha and beta of a batch."""
    x = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        logits = model(x, training=False)
        target = target(logits.numpy()) if callable(target) else target
        wanted = tf.gather(logits, target, batch_dims=1)
        total = tf.reduce_sum(logits, axis=1)
    alpha, both = (tape.gradient(of, x).numpy().reshape(len(x), -1) for of in (wanted, total))
    return logits.numpy(), target, alpha, both - alpha


def jsma_by_hand(model, x, y, *, theta=1.0, gamma=0.5, search="pairs", targeted=False):
    """The attack on inputs in [0, 1] image by image, as the docstring of `JSMA` tells it.

    Of ART's rule for `"top2"`, that a feature alone in its search space drags some saturated one along is left out.
    """
    shape, features = x.shape, x[0].size
    choose = pair_by_table if search == "pairs" else top_two_by_sorting
    x_adv, used = x.reshape(len(x), -1).copy(), np.zeros((len(x), features), bool)
    queries, gradients = np.zeros(len(x), int), np.zeros(len(x), int)

    def runner_up(logits):
        return np.where(np.eye(10, dtype=bool)[y], -np.inf, logits).argmax(axis=1)

    target, running = y if targeted else runner_up, list(range(len(x)))
    while running:
        given = target if callable(target) else target[running]
        logits, given, alphas, betas = derivatives(model, x_adv[running].reshape(-1, *shape[1:]), given)
        target = given if callable(target) else target
        left = []
        for image, z, alpha, beta in zip(running, logits, np.sign(theta) * alphas, np.sign(theta) * betas, strict=True):
            queries[image] += 1
            if (z.argmax() == y[image]) == targeted:
                continue
            gradients[image] += 2 if search == "pairs" else 1
            domain = x_adv[image] < 1 if theta > 0 else x_adv[image] > 0
            if search == "pairs":
                domain &= ~used[image]
            chosen = choose(alpha, beta, domain)
            if not chosen:
                continue
            for feature in chosen:
                x_adv[image, feature] = np.clip(x_adv[image, feature] + np.float32(theta), 0, 1)
                used[image, feature] = True
            count = used[image].sum()
            if count < 2 * int(features * gamma / 2) if search == "pairs" else count / features <= gamma:
                left.append(image)
        running = left
    return x_adv.reshape(shape), queries, gradients


def same_pairs(alpha, beta, domain=None):
    """Whether `best_pair` finds what a table of all pairs gives, for a batch."""
    domain = np.ones_like(alpha, bool) if domain is None else domain
    found = [tensor.numpy() for tensor in best_pair(alpha, beta, domain)]
    return [(p, q) if exists else None for p, q, exists in zip(*found, strict=True)] == [
        pair_by_table(*row) for row in zip(alpha, beta, domain, strict=True)
    ]


class TestBestPair:
    @pytest.mark.parametrize("features", [1, 2, 3, 17, 64, 100])
    def test_equals_a_table_of_all_pairs(self, features):
        rng = np.random.default_rng(features)
        assert same_pairs(*rng.normal(size=(2, 60, features)).astype(np.float32))

    @pytest.mark.parametrize("values", [2, 3, 5])
    @pytest.mark.parametrize("features", [2, 5, 16, 40])
    def test_ties_go_to_the_first_pair(self, features, values):
        rng = np.random.default_rng(values)
        assert same_pairs(*rng.integers(-values, values, (2, 200, features)).astype(np.float32))
        # With a little good in few of them only, where there may be no pair.
        alpha, beta = rng.integers(-values, 2, (2, 200, features)).astype(np.float32)
        assert same_pairs(alpha, -beta)

    def test_rounding_makes_ties_too(self):
        rng = np.random.default_rng(0)
        alpha = (1 + rng.integers(0, 4, (100, 30)) * 2.0**-23).astype(np.float32)
        assert same_pairs(alpha, -alpha[:, ::-1])
        assert same_pairs(alpha * np.float32(1e30), alpha * np.float32(-1e30))

    def test_masked_domains(self):
        rng = np.random.default_rng(0)
        alpha, beta = rng.normal(size=(2, 100, 20)).astype(np.float32)
        assert same_pairs(alpha, beta, rng.random((100, 20)) < 0.3)
        assert same_pairs(alpha, beta, rng.random((100, 20)) < 0.05)
        assert same_pairs(alpha, beta, np.zeros_like(alpha, bool))

    @pytest.mark.parametrize("features", [50, 300])
    def test_when_no_feature_outdoes_another(self, features):
        gain = np.linspace(1, 2, features, dtype=np.float32)
        shuffled = np.stack([np.random.default_rng(seed).permutation(gain) for seed in range(3)])
        assert same_pairs(shuffled, shuffled - 3)
        assert same_pairs(shuffled, -1 / shuffled)
        assert same_pairs(shuffled - np.float32(1.5), shuffled - np.float32(1.5))

    def test_no_pair(self):
        zeros, ones = np.zeros((2, 9), np.float32), np.ones((2, 9), np.float32)
        for alpha, beta in ((zeros, zeros), (ones, ones), (-ones, -ones), (ones, zeros), (-ones, ones)):
            assert not best_pair(alpha, beta, np.ones_like(alpha, bool))[2].numpy().any()

    def test_features_without_finite_derivatives_are_in_no_pair(self):
        rng = np.random.default_rng(0)
        alpha, beta = rng.normal(size=(2, 200, 12)).astype(np.float32)
        for values in (alpha, beta):
            for bad in (np.nan, np.inf, -np.inf):
                values[rng.random(values.shape) < 0.1] = bad
        assert same_pairs(alpha, beta)
        assert same_pairs(np.full_like(alpha, np.nan), beta)

    def test_colour_images(self):
        rng = np.random.default_rng(0)
        assert same_pairs(*rng.normal(size=(2, 2, 3072)).astype(np.float32))


class TestJSMA:
    @pytest.mark.parametrize("model", ["classifier", "exact"])
    @pytest.mark.parametrize(
        ("search", "theta", "targeted"),
        [
            ("pairs", 1.0, True),
            ("pairs", -1.0, False),
            ("pairs", 0.25, False),
            ("pairs", -0.25, True),
            ("top2", 1.0, False),
            ("top2", 0.25, True),
            ("top2", -0.25, True),
        ],
    )
    def test_equals_the_definition(self, request, right, model, search, theta, targeted):
        """On a trained model, and on one with many ties; in what it gives and in what it costs."""
        settings = {"theta": theta, "gamma": 0.2, "search": search, "targeted": targeted}
        model = request.getfixturevalue(model)
        x, y = right
        y = other_labels(y) if targeted else y
        got = JSMA(**settings).generate(model, x, y)
        x_adv, queries, gradients = jsma_by_hand(model, x, y, **settings)
        assert np.array_equal(got.x_adv, x_adv)
        assert np.array_equal(got.queries, queries)
        assert np.array_equal(got.gradients, gradients)

    @pytest.mark.parametrize(("theta", "success"), [(1.0, 0.9), (-1.0, 0.5)])
    def test_fools_a_model_within_its_bounds(self, classifier, right, theta, success):
        x, y = right
        made = JSMA(theta, gamma=0.5).generate(classifier, x, y)
        assert made.success.mean() > success
        assert np.array_equal(classifier.predict(made.x_adv, verbose=0).argmax(axis=1) != y, made.success)
        assert (made.x_adv.min(), made.x_adv.max()) == (0, 1)
        assert (made.x_adv.dtype, made.x_adv.shape) == (np.float32, x.shape)
        assert ((made.x_adv - x) * theta >= 0).all()

    def test_reaches_targets(self, classifier, right):
        x, y = right
        y = other_labels(y)
        made = JSMA(gamma=1.0, targeted=True).generate(classifier, x, y)
        assert made.success.mean() > 0.5
        assert np.array_equal(classifier.predict(made.x_adv, verbose=0).argmax(axis=1) == y, made.success)

    def test_changes_no_more_features_than_gamma_allows(self, classifier, right):
        def changed(gamma):
            made = JSMA(0.1, gamma).generate(classifier, *right)
            assert (made.queries <= gamma * 32).all()
            return (made.x_adv != right[0]).sum(axis=(1, 2, 3)).max()

        # Of 64 features, in pairs.
        assert [changed(gamma) for gamma in (0.03, 0.145)] == [0, 8]

    def test_gamma_is_as_decimal_as_it_reads(self):
        """100 features times 0.58 are 58, though floats make it 57.99..."""
        model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(2)])
        model.set_weights([np.tile([[1.0, -1.0]], (100, 1)), np.array([-99.0, 99.0])])
        made = JSMA(gamma=0.58).generate(model, np.zeros((1, 100)), [1])
        assert np.count_nonzero(made.x_adv) == 58

    @pytest.mark.parametrize("search", ["pairs", "top2"])
    def test_mask(self, classifier, right, search):
        x, y = right
        mask = np.random.default_rng(0).random(x.shape) < 0.5
        made = JSMA(gamma=1.0, search=search).generate(classifier, x, y, mask=mask)
        assert (made.x_adv != x)[mask].any()
        assert np.array_equal(made.x_adv[~mask], x[~mask])
        nothing = JSMA(search=search).generate(classifier, x, y, mask=np.zeros((8, 8, 1), bool))
        assert np.array_equal(nothing.x_adv, x)

    @pytest.mark.parametrize("search", ["pairs", "top2"])
    def test_leaves_what_fools_already(self, classifier, right, search):
        x, y = right
        made = JSMA(search=search, targeted=True).generate(classifier, x, y)
        assert np.array_equal(made.x_adv, x)
        assert made.success.all()
        assert set(made.queries) == {1}
        assert set(made.gradients) == {0}

    @pytest.mark.parametrize("batch_size", [1, 7])
    @pytest.mark.parametrize("search", ["pairs", "top2"])
    def test_batches_change_nothing(self, exact, right, batch_size, search):
        attack = JSMA(gamma=0.3, search=search)
        whole, parts = (attack.generate(exact, *right, batch_size=size) for size in (128, batch_size))
        for name in ("x_adv", "success", "queries", "gradients"):
            assert np.array_equal(getattr(whole, name), getattr(parts, name))

    def test_no_gradient_no_change(self, exact, right):
        exact.set_weights([np.zeros_like(weight) for weight in exact.get_weights()])
        x = right[0]
        made = JSMA().generate(exact, x, np.zeros(len(x), int))
        assert np.array_equal(made.x_adv, x)
        assert not made.success.any()
        assert (set(made.queries), set(made.gradients)) == ({1}, {2})

    @pytest.mark.parametrize("search", ["pairs", "top2"])
    def test_model_of_nans(self, exact, right, search):
        exact.set_weights([np.full_like(weight, np.nan) for weight in exact.get_weights()])
        made = JSMA(search=search).generate(exact, right[0])
        assert np.array_equal(made.x_adv, right[0])
        assert not made.success.any()

    @pytest.mark.parametrize("search", ["pairs", "top2"])
    def test_vectors_and_own_input_range(self, search):
        rng = np.random.default_rng(0)
        model = keras.Sequential([keras.Input((9,)), keras.layers.Dense(3)])
        model.set_weights([rng.normal(size=(9, 3)), np.zeros(3)])
        x = rng.uniform(-4, 4, (20, 9)).astype(np.float32)
        made = JSMA(8.0, gamma=0.5, search=search, input_range=(-4, 4)).generate(model, x)
        assert made.success.any()
        assert set(made.x_adv[made.x_adv != x]) == {4}

    def test_one_feature_makes_no_pair(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
        model.set_weights([np.array([[-1.0, 1.0]]), np.array([0.5, 0.0])])
        x = np.zeros((2, 1), np.float32)
        assert np.array_equal(JSMA(gamma=1.0).generate(model, x).x_adv, x)
        assert np.array_equal(JSMA(gamma=1.0, search="top2").generate(model, x).x_adv, x + 1)

    def test_colour_images(self):
        """A table of all pairs would take 38 MB an image."""
        model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
        x = np.random.default_rng(0).random((128, 32, 32, 3), np.float32)
        made = JSMA(0.01, gamma=0.003).generate(model, x)
        changed = (made.x_adv != x).sum(axis=(1, 2, 3))
        assert changed.max() == 8
        assert np.array_equal(changed, made.gradients)

    def test_runs_as_one_graph(self, classifier):
        """No Python loop over steps: their number does not change the size of the graph."""

        def size(gamma):
            logits = Logits(classifier, (8, 8, 1))
            signature = [
                tf.TensorSpec([None, *shape], dtype)
                for shape, dtype in (((8, 8, 1), tf.float32), ((), tf.int64), ((8, 8, 1), tf.bool), ((2,), tf.int64))
            ]
            run = tf.function(lambda *batch: JSMA(gamma=gamma).perturb(logits, *batch), signature, autograph=False)
            graph = run.get_concrete_function().graph.as_graph_def()
            return sum(map(len, [graph.node, *(function.node_def for function in graph.library.function)]))

        assert size(0.1) == size(1.0)

    def test_config_round_trip(self):
        attack = JSMA(-0.5, 0.2, search="top2", targeted=True, input_range=(-1, 1), seed=5)
        assert JSMA.from_config(attack.get_config()).get_config() == attack.get_config()
        assert repr(attack).startswith("JSMA(theta=-0.5, gamma=0.2, search='top2', targeted=True")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"theta": 0}, "`theta` must not be 0. Received: theta=0."),
            ({"theta": -1.5}, "`theta` must be a number in [-1, 1]. Received: theta=-1.5."),
            ({"theta": float("nan")}, "`theta`"),
            ({"theta": 3.0, "input_range": (-1, 1)}, "`theta` must be a number in [-2, 2]"),
            ({"gamma": 0}, "`gamma` must be a number in (0, 1]. Received: gamma=0."),
            ({"gamma": 1.1}, "`gamma`"),
            ({"search": "all"}, "`search` must be one of ['pairs', 'top2']. Received: search='all'."),
            ({"targeted": 1}, "`targeted` must be True or False"),
            ({"seed": -1}, "`seed` must be a whole number"),
        ],
    )
    def test_bad_settings(self, arguments, message):
        with pytest.raises(InvalidArgumentError) as raised:
            JSMA(**arguments)
        assert message in str(raised.value)
