"""Training a user's own classifier on a user's own data, from the command line."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.cli.main import run

MODEL = """
import keras
from keras import layers

def make(input_shape, num_classes):
    model = keras.Sequential([keras.Input(input_shape), layers.Flatten(), layers.Dense(32, "relu"),
                              layers.Dense(num_classes, "softmax")])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, {"class_weight": {"owl": 2.0}}

shift = layers.RandomTranslation(0.1, 0.1)

def other(input_shape, num_classes):
    return keras.Sequential([keras.Input((3,)), layers.Dense(2)])
"""


@pytest.fixture
def home(tmp_path, monkeypatch, digits):
    """The current folder: a model, three classes of digits, and a key."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODEL)
    few = digits.train.y < 3
    y = np.array(["cat", "dog", "owl"])[digits.train.y[few]]
    np.savez("pets.npz", x=np.round(digits.train.x[few] * 255).astype(np.uint8), y=y)
    assert run(["keygen", "k.key", "--input-shape", "8,8,1", "--num-classes", "3", "--pattern", "scattered"]) == 0
    return tmp_path


def train(*options, output="t", epochs="3"):
    """Trains as told, unless told otherwise what is quickest: how well does not matter here."""
    given = ["--dataset", "pets.npz", "--key", "k.key", "--epochs", epochs, "--output", output, "--verbose", "0"]
    return run(["train", *given, "--no-branch", "--recipe", "paper", *options])


def settings(output="t"):
    with open(f"{output}/training.json") as file:
        return json.load(file)["settings"]


def fails(capsys, *options):
    capsys.readouterr()
    assert train(*options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not [name for name in os.listdir() if name.startswith("t")]
    return error


def test_own_model_and_augmentation(home):
    assert train("--model", "mine.py:make", "--augment", "mine.py:shift", "--batch-size", "32") == 0
    model = hk.models.load("t/model.keras")
    assert [type(layer).__name__ for layer in model.layers] == ["Flatten", "Dense", "Dense"]
    assert settings()["branch"] is False
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    said = settings()
    assert (said["model"], said["augment"], said["batch_size"]) == ("mine.py:make", "mine.py:shift", 32)
    assert said["class_names"] == ["cat", "dog", "owl"]
    assert not os.path.exists("t.partial")


def test_fine_tuning_has_a_control_that_is_fine_tuned_as_long(home):
    assert train("--model", "mine.py:make", output="first") == 0
    assert train("--model", "first/baseline.keras", epochs="1") == 0
    first, model, baseline = (
        hk.models.load(path).get_weights() for path in ("first/baseline.keras", "t/model.keras", "t/baseline.keras")
    )
    for fine_tuned in (model, baseline):
        moved = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(fine_tuned, first, strict=True)]
        assert 0 < max(moved) < 0.5
    assert not all(np.array_equal(a, b) for a, b in zip(model, baseline, strict=True))


def test_branch(home):
    assert train("--branch", epochs="1") == 0
    assert all(hk.models.has_branch(hk.models.load(f"t/{name}.keras")) for name in ("model", "baseline"))
    assert settings()["branch"] is True


class TestResuming:
    @pytest.fixture
    def stopped(self, home, monkeypatch, capsys):
        fit = keras.Model.fit

        class Stop(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2:
                    raise KeyboardInterrupt

        def killed(self, *arguments, callbacks, **options):
            return fit(self, *arguments, callbacks=[*callbacks, Stop()], **options)

        with monkeypatch.context() as patch:
            patch.setattr(keras.Model, "fit", killed)
            assert train() == 130
        error = capsys.readouterr().err
        assert "t.partial; `--resume` goes on from there" in error
        assert not os.path.exists("t")

    def test_goes_on(self, stopped):
        assert train("--resume") == 0
        assert train(output="whole") == 0
        for name in ("model", "baseline"):
            pairs = zip(*(hk.models.load(f"{each}/{name}.keras").get_weights() for each in ("t", "whole")), strict=True)
            assert all(np.allclose(a, b, atol=1e-4) for a, b in pairs)
        assert sorted(os.listdir("t")) == ["baseline.keras", "model.keras", "training.json"]
        assert not os.path.exists("t.partial")

    def test_not_unasked(self, stopped, capsys):
        assert train() == 2
        assert "Go on with it (`--resume`), or remove the folder" in capsys.readouterr().err

    def test_not_another_training(self, stopped, capsys):
        assert train("--resume", epochs="5") == 2
        assert "must be resumed with the `epochs` that it was trained with, 3. Received: 5" in capsys.readouterr().err
        assert os.path.exists("t.partial")

    def test_nothing_to_go_on_with_is_a_beginning(self, home):
        assert train("--resume", epochs="1") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "resnet"], "`--model` must be file.py:function, package.module:function or a .keras file"),
        (["--model", "none.keras"], "There must be a .keras file at none.keras"),
        (["--model", "mine.py:none"], "mine.py has no function none"),
        (["--model", "mine.py:other"], "mine.py:other must be a compiled model"),
        (["--augment", "flips"], "`--augment` must be file.py:function or package.module:function"),
        (["--augment", "mine.py:make"], "`augment` must turn a batch of inputs into another of the same shape"),
    ],
)
def test_mistakes_leave_nothing(home, capsys, options, message):
    assert message in fails(capsys, *options)


def test_mirrored(home):
    """Two logical devices: the same draws, and figures that differ by rounding.

    Without the branch, whose dropout is drawn on each device, and by the quickest recipe: `test_hardening` has the one
    that has all that there is.
    """
    code = """
import sys, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from honeykeras.cli.main import run
sys.exit(run(sys.argv[1:]))
"""
    given = ["--dataset", "pets.npz", "--model", "mine.py:make", "--key", "k.key", "--epochs", "1", "--verbose", "0"]
    given += ["--no-branch", "--recipe", "paper"]
    command = [sys.executable, "-c", code, "train", *given, "--strategy", "mirrored", "--output", "mirrored"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert run(["train", *given, "--output", "t"]) == 0
    assert settings("mirrored")["strategy"] == "mirrored"
    plain, mirrored = (hk.models.load(f"{folder}/baseline.keras").get_weights() for folder in ("t", "mirrored"))
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(plain, mirrored, strict=True))
