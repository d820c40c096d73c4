"""Attacks that have a model's answers alone."""

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.attacks import NES, Boundary, HopSkipJump, Oracle, Square
from honeykeras.errors import InvalidArgumentError

ATTACKS = {
    "nes": lambda **settings: NES(**{"epsilon": 0.3, "max_queries": 1500, **settings}),
    "square": lambda **settings: Square(**{"epsilon": 0.3, "max_queries": 500, **settings}),
    "boundary": lambda **settings: Boundary(**{"max_queries": 600, **settings}),
    "hop_skip_jump": lambda **settings: HopSkipJump(**{"max_queries": 600, **settings}),
}
each_attack = pytest.mark.parametrize("name", ATTACKS)
BY_DECISION = ("boundary", "hop_skip_jump")


@pytest.fixture(scope="module")
def right(classifier, digits):
    from honeykeras.evaluation import correctly_classified

    found = correctly_classified(classifier, digits.test, samples=20)
    return found.x, found.y


@each_attack
def test_fools_a_model_within_its_means(classifier, right, name):
    attack = ATTACKS[name]()
    examples = attack.generate(classifier, *right)
    assert examples.success.mean() >= 0.7
    assert (examples.queries <= attack.max_queries).all()
    assert (examples.queries >= 2).all()
    assert not examples.gradients.any()
    assert examples.x_adv.min() >= 0
    assert examples.x_adv.max() <= 1
    if name not in BY_DECISION:
        assert np.abs(examples.x_adv - examples.x).max() <= 0.3 + 1e-6
    predicted = classifier.predict(examples.x_adv, verbose=0).argmax(axis=1)
    assert np.array_equal(predicted != right[1], examples.success)


@pytest.mark.parametrize(("attack", "share"), [(Boundary, 0.7), (HopSkipJump, 0.6)])
def test_comes_nearer_with_every_query_that_it_has(classifier, right, attack, share):
    few, many = (attack(queries).generate(classifier, *right) for queries in (200, 3000))
    distances = [np.median(np.linalg.norm(each.delta.reshape(len(each.delta), -1), axis=1)) for each in (few, many)]
    assert distances[1] < share * distances[0]


def test_nes_is_led_by_the_gradient(right):
    """Of a linear model the gradient is known: the steps go against the label's weights."""
    x = np.full((1, 8, 8, 1), 0.5, np.float32)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    weights = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    model.layers[-1].set_weights([weights, np.array([4.0, 0.0], np.float32) - 0.5 * weights.sum(axis=0)])
    examples = NES(0.2, 9000, samples_per_step=2000, step_size=0.05).generate(model, x, np.array([0]))
    step = np.sign(examples.x_adv - x).ravel()
    assert (step == np.sign(weights[:, 1] - weights[:, 0])).mean() > 0.8


def test_boundary_finds_the_nearest_input_behind_a_plane():
    """Where the boundary is a plane, the nearest input on the other side is known."""
    weights = np.random.default_rng(0).normal(size=(16, 1)).astype(np.float32)
    x = np.full((3, 16), 0.5, np.float32)
    distance = 0.3
    model = keras.Sequential([keras.Input((16,)), keras.layers.Dense(2)])
    height = x[:1] @ weights + distance * np.linalg.norm(weights)
    model.layers[0].set_weights(
        [np.hstack([0 * weights, weights]), np.concatenate([height[0], [0]]).astype(np.float32)]
    )
    examples = Boundary(4000).generate(model, x, np.zeros(3, int))
    assert examples.success.all()
    found = np.linalg.norm(examples.delta, axis=1)
    assert (found > distance - 1e-4).all()
    assert (found < 1.05 * distance).all()
    along = -(examples.delta @ weights).ravel() / (found * np.linalg.norm(weights))
    assert (np.abs(along) > 0.95).all()


def test_square_begins_with_stripes(right):
    x = np.full((3, 6, 6, 2), 0.5, np.float32)
    seen = []

    def answer(queries):
        return np.tile(np.float32([1, 0]), (len(queries), 1))

    attack = Square(0.2, 10)
    ask = Oracle(answer, 3, lambda images, queries: seen.append((images, queries)))
    draws = [np.random.default_rng(i) for i in range(3)]
    attack.search(ask, x, np.zeros(3, int), np.ones(x.shape, bool), draws)
    images, first = seen[1]
    assert np.array_equal(images, [0, 1, 2])
    assert np.allclose(np.abs(first - 0.5), 0.2)
    assert (first == first[:, :1]).all(), "a stripe has one sign from top to bottom"
    assert (ask.queries == 10).all()


@each_attack
def test_a_seed_repeats_it_in_whatever_batches(classifier, right, name):
    x, y = right[0][:5], right[1][:5]
    attack = ATTACKS[name](max_queries=200, seed=3)
    once = attack.generate(classifier, x, y)
    parts = [attack.generate(classifier, x[i : i + 1], y[i : i + 1], first=i).x_adv for i in range(5)]
    # But for the rounding of batches, which may turn a decision.
    assert (
        np.mean([np.allclose(a, b, atol=1e-5) for a, b in zip(once.x_adv, np.concatenate(parts), strict=True)]) >= 0.8
    )
    other = ATTACKS[name](max_queries=200, seed=4).generate(classifier, x, y)
    assert not np.array_equal(once.x_adv, other.x_adv)


@each_attack
def test_mask_holds(classifier, right, name):
    mask = np.zeros((8, 8, 1), bool)
    mask[:, 4:] = True
    examples = ATTACKS[name](max_queries=200).generate(classifier, *right, mask=mask)
    assert np.array_equal(examples.x_adv[:, :, :4], examples.x[:, :, :4])


@each_attack
def test_reaches_a_label(classifier, right, name):
    x, y = right
    attack = ATTACKS[name](targeted=True, **({} if name in BY_DECISION else {"epsilon": 0.6}))
    examples = attack.generate(classifier, x, (y + 1) % 10)
    assert np.array_equal(
        examples.success, classifier.predict(examples.x_adv, verbose=0).argmax(axis=1) == (y + 1) % 10
    )
    if name not in BY_DECISION:
        assert examples.success.mean() > 0.4


@each_attack
def test_inputs_that_fool_already_come_back(classifier, right, name):
    x, y = right
    examples = ATTACKS[name]().generate(classifier, x, (y + 1) % 10)
    assert np.array_equal(examples.x_adv, examples.x)
    assert (examples.queries == 1).all()


@each_attack
def test_tables_and_ranges_of_features(name):
    rng = np.random.default_rng(0)
    low, high = [-5.0, 0.0, 100.0, 0.0], [5.0, 1.0, 300.0, 0.1]
    x = rng.uniform(low, high, (30, 4)).astype(np.float32)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    scale = np.float32(8) / (np.subtract(high, low).astype(np.float32))
    kernel = np.stack([scale, -scale], axis=1)
    model.layers[0].set_weights([kernel, -kernel.T @ np.float32(np.add(low, high) / 2)])
    y = model.predict(x, verbose=0).argmax(axis=1)
    settings = {} if name in BY_DECISION else {"epsilon": 0.5}
    examples = ATTACKS[name](input_range=(low, high), **settings).generate(model, x, y)
    assert examples.success.mean() > 0.5
    assert (examples.x_adv >= np.float32(low)).all()
    assert (examples.x_adv <= np.float32(high)).all()


@each_attack
def test_model_of_no_gradient(right, name):
    """There is none to follow, and none is needed."""
    inputs = keras.Input((8, 8, 1))
    counted = keras.layers.Lambda(
        lambda x: keras.ops.one_hot(keras.ops.cast(keras.ops.mean(x, (1, 2, 3)) > 0.5, int), 2)
    )
    model = keras.Model(inputs, counted(inputs))
    x = np.full((2, 8, 8, 1), 0.4, np.float32)
    examples = ATTACKS[name](max_queries=300).generate(model, x)
    assert len(examples) == 2


@each_attack
def test_config(name):
    attack = ATTACKS[name](targeted=True, seed=7)
    assert type(attack).from_config(attack.get_config()).get_config() == attack.get_config()
    assert hk.attacks.get(name).name == name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NES(epsilon=0), "epsilon"),
        (lambda: NES(samples_per_step=1), "samples_per_step"),
        (lambda: NES(sigma=-1), "sigma"),
        (lambda: NES(epsilon=0.1, step_size=0.2), "step_size"),
        (lambda: Square(p_init=0), "p_init"),
        (lambda: Square(max_queries=1), "max_queries"),
        (lambda: Boundary(sidewards=0), "sidewards"),
        (lambda: Boundary(towards=1.5), "towards"),
        (lambda: HopSkipJump(max_queries=1.5), "max_queries"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make()
