import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

from honeykeras.attacks import PGD
from honeykeras.errors import InvalidArgumentError


@pytest.fixture
def right(digits, classifier):
    """Test digits that the classifier gets right."""
    x, y = digits.test.x, digits.test.y
    chosen = classifier.predict(x, verbose=0).argmax(axis=1) == y
    return x[chosen][:60], y[chosen][:60]


def l2(difference):
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)


def loss(model, x_adv, y):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x_adv)).numpy()


@pytest.mark.parametrize(("norm", "epsilon"), [("inf", 0.2), ("2", 1.0)])
@pytest.mark.parametrize("targeted", [False, True])
def test_without_random_start_equals_cleverhans(classifier, right, norm, epsilon, targeted):
    x, y = right
    y = (y + 1) % 10 if targeted else y
    order = {"inf": np.inf, "2": 2}[norm]
    expected = projected_gradient_descent(
        lambda t: classifier(t, training=False),
        x,
        epsilon,
        epsilon / 10,
        15,
        order,
        clip_min=0,
        clip_max=1,
        y=y,
        targeted=targeted,
        rand_init=0,
    )
    attack = PGD(epsilon, 15, epsilon / 10, norm=norm, random_start=False, targeted=targeted)
    # A gradient of rounding size may take either sign; all but a few values must agree.
    assert np.mean(np.abs(attack.generate(classifier, x, y).x_adv - expected) > 1e-4) < 0.01


def test_stays_in_the_l2_ball(classifier, right):
    norms = l2(PGD(0.8, norm="2").generate(classifier, *right).x_adv - right[0])
    assert norms.max() <= 0.8 + 1e-5
    assert np.median(norms) > 0.79


def starts(x, **settings):
    """Where PGD starts from each image, less the image."""
    attack = PGD(**settings)
    mask, seeds = np.ones(x.shape, bool), np.stack([np.zeros(len(x)), np.arange(len(x))], axis=1).astype(np.int64)
    return tf.function(attack._random)(tf.constant(mask), tf.constant(seeds)).numpy()


def test_random_start_is_uniform_in_the_cube():
    found = starts(np.zeros((200, 8, 8, 1)), epsilon=0.5)
    assert np.abs(found).max() <= 0.5
    assert np.histogram(found, 10, (-0.5, 0.5))[0] / found.size == pytest.approx(0.1, abs=0.01)


def test_random_start_is_uniform_in_the_ball():
    """The share of its volume within a radius grows with the power of the dimension."""
    radii = l2(starts(np.zeros((2000, 4)), epsilon=2.0, norm="2"))
    assert radii.max() <= 2
    assert np.mean(radii < 1) == pytest.approx(1 / 16, abs=0.02)
    assert np.mean(radii < 1.5) == pytest.approx((3 / 4) ** 4, abs=0.04)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_random_start_of_an_image_does_not_depend_on_its_batch(classifier, right, norm):
    x, y = right
    attack = PGD(0.3, steps=1, norm=norm)
    whole = attack.generate(classifier, x, y).x_adv
    parts = [attack.generate(classifier, x[i : i + 20], y[i : i + 20], first=i).x_adv for i in (0, 20, 40)]
    assert np.mean(np.abs(np.concatenate(parts) - whole) > 1e-5) < 0.01


def test_restarts_keep_the_best(classifier, right):
    x, y = right
    once = PGD(0.1, steps=5).generate(classifier, x, y)
    thrice = PGD(0.1, steps=5, restarts=3).generate(classifier, x, y)
    assert 0 < once.success.mean() < 1
    assert (thrice.success >= once.success).all()
    same = thrice.success == once.success
    assert (loss(classifier, thrice.x_adv, y) >= loss(classifier, once.x_adv, y) - 1e-4)[same].all()
    assert (loss(classifier, thrice.x_adv, y) > loss(classifier, once.x_adv, y) + 1e-4).any()
    assert (thrice.gradients == 15).all()
    assert (thrice.queries == 15 + 4).all()


def test_early_stop_succeeds_as_often_with_fewer_gradients(classifier, right):
    whole, early = (PGD(0.3, early_stop=early).generate(classifier, *right) for early in (False, True))
    assert whole.success.mean() > 0.95
    assert np.array_equal(early.success, whole.success)
    assert early.gradients.mean() < 0.6 * whole.gradients.mean()
    assert (whole.gradients == 40).all()


def test_early_stop_leaves_alone_what_is_wrong_already(classifier, right):
    x, y = right
    examples = PGD(0.3, early_stop=True, restarts=2).generate(classifier, x, (y + 1) % 10)
    assert np.array_equal(examples.x_adv, x)
    assert (examples.gradients == 0).all()
    assert (examples.queries == 1).all()


def test_never_less_adversarial_than_the_input(classifier, right):
    """Even where every step goes the wrong way."""
    x, y = right
    wrong = (y + 1) % 10
    examples = PGD(1.0, steps=2, step_size=1.0).generate(classifier, x, wrong)
    assert examples.success.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epsilon": 0}, "`epsilon` must be a number in (0, inf). Received: epsilon=0."),
        ({"epsilon": float("nan")}, "`epsilon`"),
        ({"steps": 0}, "`steps` must be a whole number of at least 1"),
        ({"epsilon": 0.1, "step_size": 0.2}, "`step_size` must be a number in (0, 0.1]"),
        ({"norm": "1"}, "`norm` must be one of ['inf', '2']. Received: norm='1'."),
        ({"norm": 2}, "`norm` must be one of ['inf', '2']. Received: norm=2."),
        ({"random_start": 3}, "`random_start` must be True or False"),
        ({"restarts": 0}, "`restarts` must be a whole number of at least 1"),
        ({"restarts": 2, "random_start": False}, "`restarts` must be 1 without a random start"),
        ({"early_stop": "yes"}, "`early_stop` must be True or False"),
        ({"input_range": (1, 0)}, "`input_range`"),
        ({"seed": -1}, "`seed` must be a whole number from 0 to 4294967295"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(InvalidArgumentError) as raised:
        PGD(**arguments)
    assert message in str(raised.value)
