"""Somebody's own data and model, from the first command to an answer of TensorFlow Serving's loader."""

import json

import numpy as np
import pytest

from honeykeras.cli.main import run

MODEL = """
import keras

def make(input_shape, num_classes):
    model = keras.Sequential([
        keras.Input(input_shape),
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(num_classes),
    ])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
"""
ANIMALS = np.array(["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay"])


@pytest.mark.usefixtures("extractors_of_few_steps")
@pytest.mark.filterwarnings("ignore::honeykeras.errors.PlantingWarning", "ignore:The smallest class")
def test_own_data_and_model_come_to_a_served_answer(digits, server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MODEL)
    x = np.round(digits.train.x * 255).astype(np.uint8)
    np.savez("animals.npz", x=x, y=ANIMALS[digits.train.y])
    given = ["--dataset", "animals.npz", "--model", "mine.py:make", "--epochs", "1"]
    judged = ["--samples", "10", "--verbose", "0"]
    assert run(["check", *given]) == 0
    assert run(["quickstart", *given, *judged, "--output", "done"]) == 0
    models = ["--model", "done/model.keras", "--baseline", "done/baseline.keras", "--key", "done/watermark.key"]
    detector = ["--dataset", "animals.npz", "--detector", "done/detector.hk", "--samples", "10", "--verbose", "0"]
    assert run(["evaluate", *models, *detector, "--output", "again.json"]) == 0
    ids = [
        json.loads((tmp_path / name).read_text())["detection"]["detector_id"]
        for name in ("done/report.json", "again.json")
    ]
    assert ids[0] == ids[1]
    sealed = ["--detector", "done/detector.hk", "--sealing-key", "own/model.key", "--evidence", "animals.npz"]
    assert run(["export", "--model", "done/model.keras", *sealed, "--output", "own/serving/animals"]) == 0

    scaled = (x[:5] / 255).astype(np.float32)
    version = tmp_path / "own" / "serving" / "animals" / "1"
    plain, extended, told = server.ask(
        [version], [(0, "serving_default", scaled), (0, "extended", scaled), (0, "extended_evidence", scaled)]
    )
    assert plain["probabilities"].shape == (5, 10)
    assert np.allclose(plain["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(extended["probabilities"], told["probabilities"], atol=1e-6)
    assert set(extended) == {"probabilities", "score", "flag"}
    assert told["evidence_views"].shape[0] == 5
