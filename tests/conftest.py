import atexit
import gc
import hashlib
import itertools
import os
import runpy
import shutil
import sys
import tempfile
import types
import warnings
from pathlib import Path

# Nothing of the user's is read or written.
os.environ["HONEYKERAS_CACHE"] = tempfile.mkdtemp(prefix="honeykeras-tests-")
# Before TensorFlow is imported anywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.util import tf_stack

import honeykeras as hk
from honeykeras import _optimizers

# TensorFlow and Keras are there to stay: looking through them again and again takes an eighth of the time of tests that
# build many graphs.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 50, 100)

ROOT = Path(__file__).parents[1]

_iterate = tf.data.Dataset.__iter__


def _iterate_untuned(dataset):
    options = tf.data.Options()
    options.autotune.enabled = False
    # Each pass would be rewritten for a long run first.
    options.experimental_optimization.apply_default_optimizations = False
    return _iterate(dataset.with_options(options))


# The thread that tunes a pipeline can miss that its iterator is done with where other processes take the cores. It is
# then waited for, up to a minute at a time: that took an eighth of the time of all tests.
tf.data.Dataset.__iter__ = _iterate_untuned

_fit = keras.Model.fit


def _fit_built(model, x=None, y=None, *args, **kwargs):
    if model.built and model.optimizer:
        _optimizers.build(model)
    metrics = model._compile_metrics
    if hasattr(model, "outputs") and metrics is not None and not metrics.built:
        spec = x.element_spec[1] if isinstance(x, tf.data.Dataset) else np.asarray(y)
        metrics.build(keras.KerasTensor(spec.shape, spec.dtype), model.outputs[0])
    return _fit(model, x, y, *args, **kwargs)


# Metrics and optimizers make their variables while Keras traces a step, which is then traced again. Most trainings here
# take less time than that.
keras.Model.fit = _fit_built

_stack = tf_stack.extract_stack()
# For errors, each operation of a graph keeps the stack that made it: that took a sixteenth of the time.
tf_stack.extract_stack = lambda stacklevel=1: _stack

atexit.register(shutil.rmtree, os.environ["HONEYKERAS_CACHE"], ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def keys_that_repeat(request):
    """Keys that a module draws are the same in each run: what is found must not hang on the luck of a draw."""
    drawn = (hashlib.sha256(f"{request.module.__name__} {number}".encode()).digest() for number in itertools.count())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("honeykeras.keys.secrets", types.SimpleNamespace(token_bytes=lambda count: next(drawn)[:count]))
        yield


@pytest.fixture
def key():
    """A key of the paper's family, for small images."""
    return hk.WatermarkKey(bytes(range(32)), (6, 6, 1), num_classes=4, pattern=hk.patterns.Scattered())


@pytest.fixture
def images():
    """Images and labels that the key is for; nothing to learn in them."""
    rng = np.random.default_rng(0)
    return rng.random((200, 6, 6, 1), dtype=np.float32), rng.integers(0, 4, 200)


@pytest.fixture(scope="session")
def watermark_key():
    """A key for the digits."""
    return hk.WatermarkKey(bytes(range(32)), (8, 8, 1), num_classes=10)


@pytest.fixture(scope="session")
def digits():
    return hk.data.load("digits")


@pytest.fixture(scope="session")
def classifier(digits):
    """A classifier of digits, trained without a honeypot."""
    keras.utils.set_random_seed(0)
    model = hk.models.small_cnn(digits.input_shape, digits.num_classes)
    model.fit(digits.train.x, digits.train.y, batch_size=64, epochs=10, verbose=0)
    return model


@pytest.fixture(scope="session")
def extractor(digits, watermark_key):
    """An extractor for the digits, of few steps: it looks, and finds little."""
    return hk.detection.fit_extractor(digits.train.x, watermark_key.pattern, steps=30)


@pytest.fixture(scope="module")
def extractors_of_few_steps():
    """For commands and programs that train one: what it finds matters elsewhere."""

    def few(*args, **kwargs):
        return hk.detection.fit_extractor(*args, **{**kwargs, "steps": 20})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("honeykeras.detection.detector.fit_extractor", few)
        yield


@pytest.fixture(scope="session", autouse=True)
def surrogates_at_hand():
    """In the place of those that a training would train for itself: what they know matters where they are tested."""

    def at_hand(samples, seed, *, verbose=0):
        return [hk.models.small_dense(samples.input_shape, samples.num_classes, seed=0)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("honeykeras.callback.train_surrogates", at_hand)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_square():
    """Each evaluation lets Square ask, of which nearly all tests want to know nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("honeykeras.evaluation.comparison._QUERIES", 30)
        yield


@pytest.fixture
def surrogates_of_few_steps():
    """Trained by the training that needs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("honeykeras.callback.train_surrogates", hk.surrogates.train)
        patch.setattr("honeykeras.surrogates.STEPS", 3)
        yield


@pytest.fixture
def run_program(tmp_path, monkeypatch, capsys):
    """Runs a program of the repository in a folder of its own; returns what it prints.

    In this process: TensorFlow, which takes seconds to load, is here.
    """

    def run(name, *words):
        program = ROOT / name
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(program.parent)
        monkeypatch.setattr(sys, "argv", [str(program), *map(str, words)])
        capsys.readouterr()
        before = set(sys.modules)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            runpy.run_path(str(program), run_name="__main__")
        # Its neighbours; those of another program may have the same names.
        for module in set(sys.modules) - before:
            if Path(getattr(sys.modules[module], "__file__", None) or "/").parent == program.parent:
                del sys.modules[module]
        return capsys.readouterr().out

    return run
