"""Plain models of a honeypot's own data, in the place of those on which attackers will make their images."""

from __future__ import annotations

import dataclasses

import keras

from honeykeras._progress import bar
from honeykeras.hardening import Samples
from honeykeras.models import fits_small_cnn, small_cnn, small_dense

COUNT = 2
"""How many are trained."""

STEPS = 400
"""How many steps each is trained. When they know too little, images made on others fool a model far more often."""

_BATCH_SIZE = 128

SAMPLES = COUNT * STEPS * _BATCH_SIZE
"""How many samples all of them are trained on, one that is seen again counted again."""


def train(samples: Samples, seed: int, *, verbose: int = 0) -> list[keras.Model]:
    """Trains small networks that differ in their weights and in the order of what they see.

    They are the library's own and not the user's, so that they cost little beside a large one.

    Args:
        samples: What they are trained on.
        seed: Decides on both.
        verbose: Whether a progress bar is shown.
    """
    with bar("Training models to be attacked", COUNT * STEPS, "step", verbose) as progress:
        counts = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: progress.update(1))
        return [_train(samples, (seed + place) % 2**32, counts) for place in range(COUNT)]


def _train(samples: Samples, seed: int, callback: keras.callbacks.Callback) -> keras.Model:
    model = _network(samples, seed)
    batches = dataclasses.replace(samples, order_seed=seed).batches(min(_BATCH_SIZE, samples.count), 0)
    model.fit(batches, steps_per_epoch=STEPS, callbacks=[callback], verbose=0, shuffle=False)
    return model


def _network(samples: Samples, seed: int) -> keras.Model:
    make = small_cnn if fits_small_cnn(samples.input_shape) else small_dense
    return make(samples.input_shape, samples.num_classes, input_range=samples.input_range, seed=seed)
