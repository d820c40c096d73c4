"""What long steps show of how far they got."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import _progress
from honeykeras.evaluation.arena import correct


@pytest.fixture
def at_once(monkeypatch):
    """Shows bars of short steps too."""
    monkeypatch.setattr(_progress, "_DELAY", 0.0)


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])


@pytest.fixture
def streamed(images):
    x, y = images
    return hk.data.StreamedSplit(tf.data.Dataset.from_tensor_slices((x, y)).repeat(3).filter(lambda x, y: y >= 0), 600)


def detector_of(key, model, images):
    return hk.detection.PaperDetector(key).fit(model, hk.detection.Samples(images[0], adversarial=1 - images[0]))


def test_scores(key, model, images, streamed, at_once, capfd):
    detector = detector_of(key, model, images)
    shown = detector.score(images[0], verbose=1)
    assert "Scoring: 100%" in (bar := capfd.readouterr().err)
    assert "1/1" in bar
    assert np.array_equal(detector.score(images[0]), shown)
    detector.calibrate(streamed.inputs, 0.1, verbose=1)
    assert "3/3" in capfd.readouterr().err, "the time left is known of streamed data too"
    detector.calibrate(streamed.inputs.take(2), 0.1).flag(images[0])
    assert not capfd.readouterr().err


def test_reading_and_classifying(model, images, streamed, at_once, capfd):
    assert len(streamed.head(300, verbose=1)) == 300
    assert "Reading: 100%" in capfd.readouterr().err
    assert len(correct(model, streamed, verbose=1)) == 600
    assert "600/600" in capfd.readouterr().err
    streamed.head(300)
    correct(model, streamed)
    assert not capfd.readouterr().err


def test_attacks(model, images, at_once, capfd, tmp_path):
    attack = hk.attacks.PGD(steps=2)
    attack.generate(model, *images, batch_size=64, verbose=1)
    assert "Attacking with pgd: 100%" in (bar := capfd.readouterr().err)
    assert "200/200" in bar
    hk.attacks.craft(model, attack, tf.data.Dataset.from_tensor_slices(images), tmp_path / "kept", shard_size=100)
    assert "200/200" in capfd.readouterr().err


def test_short_step_shows_nothing(key, model, images, capfd):
    detector_of(key, model, images).score(images[0], verbose=1)
    assert not capfd.readouterr().err
