"""Attacks that look for the nearest input that fools a model."""

import keras
import numpy as np
import pytest

from honeykeras.attacks import DDN, FMNL0, FMNL2, JSMA, PGD, CarliniWagner, FMNLinf, SuperDeepFool
from honeykeras.errors import InvalidArgumentError

KINDS = [DDN, FMNL2, FMNLinf, FMNL0]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def sizes(delta, order):
    return np.linalg.norm(delta.reshape(len(delta), -1), order, axis=1)


@pytest.fixture(scope="module")
def linear():
    """A linear model of two classes on inputs in [0, 1], of which each distance to the boundary is known."""
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(2)])
    weights = np.random.default_rng(3).normal(size=(20, 1)).astype(np.float32)
    model.layers[-1].set_weights([np.concatenate([weights, -weights], axis=1), np.zeros(2, np.float32)])
    x = np.random.default_rng(4).uniform(0.4, 0.6, (30, 20)).astype(np.float32)
    slope, lead = 2 * weights[:, 0], np.abs(2 * x @ weights[:, 0])
    # Those far enough away that quantities are not all rounding, and near enough not to meet the range's ends.
    chosen = (lead > 0.3) & (lead < 0.35 * np.linalg.norm(slope))
    x = x[chosen]
    return model, x, model.predict(x, verbose=0).argmax(axis=1), slope, lead[chosen]


def test_l2_distances_are_those_to_a_plane(linear):
    model, x, y, slope, lead = linear
    expected = lead / np.linalg.norm(slope)
    for kind in (DDN, FMNL2):
        examples = kind(steps=200).generate(model, x, y)
        assert examples.success.all()
        assert sizes(examples.delta, 2) == pytest.approx(expected, rel=0.02)
    examples = SuperDeepFool().generate(model, x, y)
    assert examples.success.all()
    assert sizes(examples.delta, 2) == pytest.approx(expected, rel=0.002)
    # A plane is met at once: one step to it, one that projects, and one that sees that it is there.
    assert (examples.gradients <= 3).all()


def test_l_infinity_distances_are_those_to_a_plane(linear):
    model, x, y, slope, lead = linear
    examples = FMNLinf(steps=200).generate(model, x, y)
    assert examples.success.all()
    assert sizes(examples.delta, np.inf) == pytest.approx(lead / np.abs(slope).sum(), rel=0.03)


def test_l0_distances_are_those_to_a_plane(linear):
    """Few features suffice: those that do most on their way to an end of the range."""
    model, x, y, slope, lead = linear
    towards = -slope * np.sign(x @ slope)[:, None]
    gains = np.sort(np.abs(slope) * np.where(towards > 0, 1 - x, x), axis=1)[:, ::-1]
    least = (np.cumsum(gains, axis=1) <= lead[:, None]).sum(axis=1) + 1
    examples = FMNL0(steps=200).generate(model, x, y)
    assert examples.success.all()
    found = sizes(examples.delta, 0)
    assert (found >= least).all()
    assert (found <= least + 2).all()


@pytest.fixture(scope="module")
def peer(classifier, right):
    return CarliniWagner().generate(classifier, *right)


@pytest.mark.parametrize("kind", [DDN, FMNL2, SuperDeepFool], ids=lambda kind: kind.name)
def test_as_near_as_carlini_wagner_with_a_25th_of_its_gradients(kind, classifier, right, peer):
    examples = kind().generate(classifier, *right)
    assert examples.success.all()
    assert np.median(sizes(examples.delta, 2)) <= 1.01 * np.median(sizes(peer.delta, 2))
    assert peer.gradients.mean() >= 15 * examples.gradients.mean()


def test_l_infinity_is_as_near_as_a_search_with_many_projected_descents(classifier, right):
    found = sizes(FMNLinf().generate(classifier, *right).delta, np.inf)
    for share in (1.3, 0.7):
        pgd = [
            PGD(share * size, 100).generate(classifier, right[0][i : i + 1], right[1][i : i + 1]).success[0]
            for i, size in enumerate(found[:8])
        ]
        assert np.mean(pgd) > 0.9 if share > 1 else np.mean(pgd) < 0.2


def test_l0_changes_fewer_features_than_the_saliency_map_attack(classifier, right):
    found, peer = FMNL0().generate(classifier, *right), JSMA(gamma=0.5).generate(classifier, *right)
    assert found.success.all()
    assert np.median(sizes(found.delta, 0)) < np.median(sizes(peer.x_adv - peer.x, 0))


@each_kind
def test_more_steps_come_nearer(kind, classifier, right):
    order = {"fmn_l0": 0, "fmn_linf": np.inf}.get(kind.name, 2)
    few, many = (kind(steps).generate(classifier, *right) for steps in (15, 150))
    assert many.success.all()
    distances = [np.where(each.success, sizes(each.x_adv - each.x, order), np.inf) for each in (few, many)]
    assert (distances[1] <= 1.01 * distances[0]).mean() > 0.8
    assert (distances[1] < distances[0]).any()
    assert (few.gradients == 15).all()
    assert (few.queries == 16).all()


class TestSuperDeepFool:
    def test_counts_a_gradient_for_each_class_that_it_looks_at(self, classifier, right):
        one, three = (SuperDeepFool(4, candidates).generate(classifier, *right) for candidates in (1, 3))
        assert set(one.gradients) <= {1, 2, 3, 4}
        assert set(three.gradients) <= {3, 6, 9, 12}
        assert (three.queries == three.gradients + 11).all()

    def test_of_more_candidates_than_there_are_classes(self, linear):
        model, x, y, *_ = linear
        many = SuperDeepFool(candidates=50).generate(model, x, y)
        np.testing.assert_array_equal(many.x_adv, SuperDeepFool(candidates=1).generate(model, x, y).x_adv)

    def test_reaches_a_target_by_its_nearest_boundary(self, classifier, right):
        x, y = right
        target = (y + 1) % 10
        examples = SuperDeepFool(targeted=True).generate(classifier, x, target)
        peer = DDN(targeted=True).generate(classifier, x, target)
        assert examples.success.mean() > 0.95
        assert np.median(sizes(examples.delta, 2)) <= 1.15 * np.median(sizes(peer.delta, 2))
        assert (examples.gradients <= 20).all()

    @pytest.mark.parametrize("settings", [{"steps": 0}, {"candidates": 0}, {"candidates": 1.5}])
    def test_bad_settings(self, settings):
        with pytest.raises(InvalidArgumentError, match="must be a whole number"):
            SuperDeepFool(**settings)


@each_kind
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "`steps` must be a whole number"),
        ({"gamma": 1}, "`gamma`"),
        ({"gamma": 0}, "`gamma`"),
    ],
)
def test_bad_settings(kind, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        kind(**settings)
