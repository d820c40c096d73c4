"""What is told of a training before it is begun."""

import json

import keras
import numpy as np
import pytest

from honeykeras.cli.main import run

MODEL = """
import keras
from keras import layers

def make(shape, classes, activation=None, from_logits=True):
    model = keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(classes, activation)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits))
    return model

def twice_softmax(shape, classes):
    return make(shape, classes, "softmax")

def exploded(shape, classes):
    model = make(shape, classes)
    model.layers[-1].bias.assign([float("nan")] * classes)
    return model

def whole_numbers(shape, classes):
    inputs = keras.Input(shape, dtype="int32")
    model = keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(keras.ops.cast(inputs, "float32"))))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODEL)
    return tmp_path


def found(capsys, *options):
    capsys.readouterr()
    assert run(["check", *options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_digits(home, capsys):
    said = found(capsys)
    assert said["samples"] == {"train": 802, "detector": 300, "calibration": 300, "test": 395}
    assert (said["input_shape"], said["values"], said["output"]) == ([8, 8, 1], [0, 1], "logits")
    assert sum(said["class_sizes"].values()) == 802
    assert (said["recipe"]["amplitude"], said["poisoned"], said["branch"]) == (0.3, 321, True)
    assert said["seconds"]["honeypot"] > 0
    assert said["memory"] > 100
    assert said["problems"] == []
    assert not list(home.glob("watermark*"))


def test_a_recipe_with_examples_made_on_other_models(home, capsys):
    assert found(capsys, "--recipe", "balanced", "--model", "mine.py:make")["recipe"]["name"] == "balanced"
    assert run(["check", "--recipe", "hardened", "--model", "mine.py:make", "--verbose", "0"]) == 0
    assert "and once what two small networks take" in " ".join(capsys.readouterr().out.split())


def test_for_people(home, capsys):
    assert run(["check", "--model", "mine.py:make", "--epochs", "7", "--verbose", "0"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in ("802 train", "5,460 weights, logits, with a branch", "recipe 'balanced'", "for 7 epochs each"):
        assert words in text
    assert "Nothing speaks against it." in text


def test_what_will_not_work(home, capsys):
    """A class that is rare, features that never vary, smooth images, and a loss that expects something else."""
    rng = np.random.default_rng(0)
    x = np.zeros((900, 16, 16, 3), np.uint8)
    ramp = np.linspace(0, 200, 16).astype(np.uint8)
    x[:, :7] = ramp[:, None] + rng.integers(0, 50, (900, 1, 1, 1)).astype(np.uint8)
    x[:, 0, 0, 0] = np.arange(900) % 256
    y = np.where(np.arange(900) % 60 == 0, "rare", np.where(np.arange(900) % 2, "cat", "dog"))
    np.savez("a.npz", x=x, y=y)
    said = found(capsys, "--dataset", "a.npz", "--model", "mine.py:twice_softmax", "--no-branch")
    problems = " ".join(said["problems"])
    assert said["class_sizes"]["rare"] < 15
    assert "The class rare has" in problems
    assert "an epoch would be poisoned instead of" in problems
    assert "fewer than 50 samples to learn from" in problems
    assert "features never vary" in problems
    assert "nothing is planted without a branch" in problems
    assert "gives probabilities, and its loss expects logits" in problems
    assert said["recipe"]["amplitude"] < 0.3
    mended = found(capsys, "--dataset", "a.npz")
    assert mended["branch"]
    assert "branch" not in " ".join(mended["problems"])


def test_loss_that_is_not_finite(home, capsys):
    assert any("not finite" in each for each in found(capsys, "--model", "mine.py:exploded")["problems"])


def test_a_folder_of_images(home, capsys):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (home / "photos" / name).mkdir(parents=True)
        for number in range(60):
            image = rng.integers(0, 256, (12, 10, 3), np.uint8)
            keras.utils.save_img(home / "photos" / name / f"{number}.png", image, scale=False)
    said = found(capsys, "--dataset", "photos", "--image-size", "8", "--max-fpr", "0.1")
    assert said["input_shape"] == [8, 8, 3]
    assert list(said["class_sizes"]) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-fpr", "0.001"], "must be calibrated on at least 999 clean inputs. Received: 300"),
        (["--model", "mine.py:none"], "mine.py has no function none"),
        (["--model", "mine.py:whole_numbers"], "must have a gradient"),
        (["--dataset", "none.npz"], "none.npz"),
    ],
)
def test_what_cannot_work_at_all_is_one_sentence(home, capsys, options, message):
    capsys.readouterr()
    assert run(["check", *options, "--verbose", "0"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
