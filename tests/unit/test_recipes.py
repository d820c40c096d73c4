import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras.errors import InvalidArgumentError
from honeykeras.recipes import PAPER, Recipe


def test_paper_is_as_published():
    config = PAPER.get_config()
    assert (config["name"], config["poison_rate"], config["amplitude"]) == ("paper", 0.3, 1.0)
    assert config["family"] == "scattered"
    assert config["adversarial_epsilon"] == config["alignment"] == config["floor_share"] == 0


def test_get_takes_names_and_recipes():
    assert hk.recipes.get("paper") is PAPER
    assert hk.recipes.get(PAPER) is PAPER
    with pytest.raises(InvalidArgumentError, match=r"'hardened'.*'paper'\]. Received: recipe='papr'"):
        hk.recipes.get("papr")


def test_config_round_trip():
    recipe = Recipe("mine", poison_rate=[(0, 0.1), (4, 0.3)], amplitude=0.5)
    assert Recipe.from_config(recipe.get_config()) == recipe


def test_takes_numpys_numbers():
    recipe = Recipe("mine", poison_rate=np.float32(0.5), amplitude=np.int64(1))
    assert (recipe.get_config()["poison_rate"], recipe.get_config()["amplitude"]) == (0.5, 1.0)


def test_schedule_interpolates_and_then_stays():
    recipe = Recipe("mine", poison_rate=((0, 0.0), (4, 0.4)), amplitude=((0, 1.0), (2, 0.5), (6, 0.1)))
    settings = [{name: float(value) for name, value in recipe.at(epoch).items()} for epoch in (0, 1, 2, 4, 100)]
    assert [one["poison_rate"] for one in settings] == pytest.approx([0, 0.1, 0.2, 0.4, 0.4])
    assert [one["amplitude"] for one in settings] == pytest.approx([1, 0.75, 0.5, 0.3, 0.1])
    assert recipe.max_poison_rate == 0.4


@pytest.mark.parametrize("rate", [1.2, 1, -0.1, float("nan"), "a", None, True, ((0, 0.1), (1, 1.2))])
def test_bad_poison_rate(rate):
    with pytest.raises(InvalidArgumentError, match="`poison_rate` must be a number"):
        dataclasses.replace(PAPER, poison_rate=rate)


def test_message_says_rule_and_value():
    with pytest.raises(InvalidArgumentError) as raised:
        dataclasses.replace(PAPER, poison_rate=1.2)
    assert str(raised.value) == "`poison_rate` must be a number in [0, 1). Received: poison_rate=1.2."


@pytest.mark.parametrize(
    "amplitude", [0, -1, 1.5, float("inf"), (), ((1, 0.5),), ((0, 1), (0, 0.5)), ((0, 1), (2,)), "strong"]
)
def test_bad_amplitude(amplitude):
    with pytest.raises(InvalidArgumentError, match="`amplitude` must be a number"):
        dataclasses.replace(PAPER, amplitude=amplitude)


def test_settings_can_be_asked_for_in_a_graph():
    recipe = Recipe("mine", poison_rate=0.1, amplitude=((0, 1.0), (4, 0.5)))
    found = tf.function(lambda epoch: recipe.at(epoch)["amplitude"])(tf.constant(3, tf.int64))
    assert float(found) == 0.625
