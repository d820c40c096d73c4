"""The blind extractor: reads off an input what may have been added to it, without knowing any key or attack.

A small network is trained on clean inputs to which patterns of random keys were added, in the ways in which attacks
draw: as signs of a noisy gradient, in proportion to it where an input is sensitive, as few saturated features, or
plainly. Whitening, against what inputs, corruptions and noise have in common, is the second way to look, and needs no
training.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks, _optimizers, corruptions
from honeykeras._files import PathLike
from honeykeras.detection import extractor_cache
from honeykeras.errors import InvalidArgumentError
from honeykeras.patterns import Blocks, Family
from honeykeras.ranges import UNIT, InputRange, RangeLike

EXTRACTOR = "separable-3"
"""Which network `build_extractor` builds. It changes with the network: weights of another do not fit."""

STEPS = 800
"""How many batches an extractor is trained on."""

_BATCH_SIZE = 128
_LEARNING_RATE = 4e-3
# Few channels and wide, separable kernels: what stands out in a block is judged by what lies around it, at a fraction
# of what a classifier costs, since the extractor runs beside one on every query.
_WIDTH = 32
_DEPTH = 3
_KERNEL = 5
# Along an image's longer side there are some so many steps, each of one block or several: small blocks are as cheap.
_STEPS_A_SIDE = 14
# Of so many inputs, and of each corruption of a part of them, the covariance is taken.
_WHITENING_SAMPLES = 8192
# Standard deviation of the noise against which a pattern must stand out, in standard deviations of the inputs.
_WHITENING_NOISE = 0.3


def fit_extractor(
    x: np.ndarray,
    family: Family,
    *,
    input_range: RangeLike = (0.0, 1.0),
    steps: int = STEPS,
    seed: int = 0,
    verbose: int = 0,
    cache: PathLike | None = None,
) -> keras.Model:
    """Trains an extractor for a kind of inputs. It holds no secret, and serves all keys of one family.

    Args:
        x: Clean inputs, shape `(n, *input_shape)`, floating point in `input_range`.
        family: The family of patterns to look for.
        input_range: Least and greatest value of an input, or two sequences of those of its features.
        steps: How many batches of 128 to train on.
        seed: Seed of weights and of the random keys.
        verbose: As for `model.fit`: 0, 1 or 2.
        cache: A folder to keep extractors in: one that was trained before on the same inputs, with the same settings,
            is read from there. None keeps none.

    Returns:
        A model from inputs, shape `(batch, *input_shape)`, to what was read off them in two ways, shape
        `(batch, 2, dimensions)`. It can be saved like any Keras model.

    Raises:
        InvalidArgumentError: If the inputs have the wrong dtype or range, or patterns of the family cannot be told
            apart by a score.
    """
    family = check_family(family)
    _checks.whole_number("steps", steps)
    _checks.seed(seed)
    bounds = InputRange.of(input_range)
    x = _checks.inputs("x", x, None, bounds)
    untrained = build_extractor(x.shape[1:], family, bounds, seed=seed)

    def train() -> keras.Model:
        return _train(untrained, bounds.to_unit(x), family, steps, seed, verbose)

    if cache is None:
        return train()
    name = extractor_cache.name_of(x, family, bounds, network=EXTRACTOR, steps=steps, seed=seed)
    return extractor_cache.load_or_train(Path(cache, name), untrained, train)


def _train(
    extractor: keras.Model, unit: np.ndarray, family: Blocks, steps: int, seed: int, verbose: int
) -> keras.Model:
    input_shape = unit.shape[1:]
    network, whitening = (extractor.get_layer(name) for name in ("network", "whitening"))
    network.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)),
        loss=keras.losses.CosineSimilarity(),
        jit_compile=False,
    )
    _optimizers.build(network)

    def draw(batch: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draws = _Draws(tf.stack([tf.constant(seed, tf.int64), step]))
        codes = 2 * tf.cast(draws.uniform([_BATCH_SIZE, *family.code_shape(input_shape)], 0, 1) < 0.5, tf.float32) - 1
        return add_as_attacks_do(batch, family.expand(codes, input_shape), draws), tf.reshape(codes, [_BATCH_SIZE, -1])

    # In memory already. Draws are stateless, so that the caller's random state is left alone.
    samples = tf.data.Dataset.from_tensor_slices(unit).shuffle(min(len(unit), 10_000), seed=seed).repeat()
    batches = tf.data.Dataset.zip(samples.batch(_BATCH_SIZE), tf.data.Dataset.counter())
    network.fit(batches.map(draw).take(steps).prefetch(2), epochs=1, verbose=verbose, shuffle=False)
    whitening.set_weights(_whitening(unit, family, seed))
    return extractor


def build_extractor(
    input_shape: tuple[int, ...], family: Family, input_range: InputRange = UNIT, *, seed: int = 0
) -> keras.Model:
    """An extractor that is not trained: what `fit_extractor` trains, and what weights of a file are put into.

    Args:
        input_shape: Shape of one input.
        family: The family of patterns to look for.
        input_range: Least and greatest value of an input, or of each of its features.
        seed: Seed of the weights.
    """
    inputs = keras.Input(input_shape)
    scaled = keras.layers.Rescaling(*input_range.rescaling)(inputs)
    family = check_family(family)
    networks = _network(input_shape, family, seed), _whitening_network(input_shape, family)
    views = [keras.layers.Reshape((1, -1))(network(scaled)) for network in networks]
    # Its name stands in exported graphs, which must not tell what it is for.
    return keras.Model(inputs, keras.layers.Concatenate(axis=1)(views), name="views")


def check_family(family: Family) -> Blocks:
    """Returns a family if its keys can be told apart by normalised scores, or raises `InvalidArgumentError`."""
    if not isinstance(family, Blocks):
        raise InvalidArgumentError(
            "A key-specific score needs a key of the family 'blocks'. "
            f"Received: {family!r}. For the paper's family, use `PaperDetector`."
        )
    return family


class _Draws:
    """Random numbers that a seed decides, each call's independent of the others'; for use in a graph."""

    def __init__(self, seed: tf.Tensor) -> None:
        self._seed, self._count = seed, 0

    def uniform(self, shape: Any, least: float, greatest: float) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, self._next(), least, greatest)

    def normal(self, shape: Any) -> tf.Tensor:
        return tf.random.stateless_normal(shape, self._next())

    def _next(self) -> tf.Tensor:
        self._count += 1
        return tf.random.fold_in(self._seed, self._count)


def add_as_attacks_do(x: tf.Tensor, patterns: tf.Tensor, draws: _Draws) -> tf.Tensor:
    """Adds patterns to inputs in the ways in which attacks draw, one way drawn for each input.

    Args:
        x: Shape `(batch, *input_shape)`, float32 in [0, 1].
        patterns: Of the same shape, values -1 and +1.
        draws: What is random in that.

    Returns:
        The inputs with the patterns, in [0, 1], on 256 levels.
    """
    one_each = [tf.shape(x)[0], *[1] * (len(x.shape) - 1)]

    def uniform(least: float, greatest: float) -> tf.Tensor:
        return draws.uniform(one_each, least, greatest)

    def log_uniform(least: float, greatest: float) -> tf.Tensor:
        return tf.exp(uniform(math.log(least), math.log(greatest)))

    def smooth(scale: int) -> tf.Tensor:
        return _smooth(x, scale, draws)

    noise = uniform(0.3, 1) * draws.normal(tf.shape(x)) + uniform(0, 1) * smooth(3) + uniform(0, 1) * smooth(7)
    gradient = log_uniform(0.1, 3) * patterns + noise
    signs = log_uniform(0.01, 0.3) * tf.sign(gradient)
    sensitivity = tf.nn.relu(smooth(4) + 0.5) * uniform(0.3, 1) + uniform(0, 0.3)
    norm = tf.sqrt(tf.reduce_mean((gradient * sensitivity) ** 2, axis=list(range(1, len(x.shape))), keepdims=True))
    in_proportion = log_uniform(0.005, 0.15) * gradient * sensitivity / (norm + 1e-6)
    gumbel = -tf.math.log(-tf.math.log(draws.uniform(tf.shape(x), 1e-6, 1 - 1e-6)))
    saturated = tf.cast(2 * uniform(0.3, 1.5) * patterns + 1.5 * smooth(4) + gumbel > uniform(2, 6), tf.float32)
    plain = log_uniform(0.01, 0.3) * patterns + uniform(0, 0.05) * draws.normal(tf.shape(x))
    way = tf.floor(uniform(0, 4))
    delta = tf.where(way == 0, signs, tf.where(way == 1, in_proportion, tf.where(way == 2, saturated, plain)))
    return tf.round(tf.clip_by_value(x + delta, 0, 1) * 255) / 255


def _smooth(x: tf.Tensor, scale: int, draws: _Draws) -> tf.Tensor:
    """Noise that varies slowly over an image, as gradients do; white noise for inputs of another rank."""
    if len(x.shape) != 4:
        return draws.normal(tf.shape(x))
    _, height, width, channels = x.shape
    coarse = draws.normal([tf.shape(x)[0], -(-height // scale), -(-width // scale), channels])
    return tf.image.resize(coarse, [height, width])


def _network(input_shape: tuple[int, ...], family: Blocks, seed: int) -> keras.Model:
    layers = keras.layers
    inputs = y = keras.Input(input_shape)
    dimensions = math.prod(family.code_shape(input_shape))
    seeds = np.random.default_rng(seed)

    def draw(scale: float = 1.0) -> keras.initializers.Initializer:
        seed = int(seeds.integers(2**31))
        return keras.initializers.VarianceScaling(scale, "fan_avg", "uniform", seed)

    if len(input_shape) != 3:
        y = layers.Flatten()(y)
        for _ in range(2):
            y = layers.Dense(max(256, 2 * dimensions), activation="relu", kernel_initializer=draw())(y)
        return keras.Model(inputs, layers.Dense(dimensions, kernel_initializer=draw())(y), name="network")
    rows, columns, channels = family.code_shape(input_shape)
    blocks = max(1, round(max(rows, columns) / _STEPS_A_SIDE))
    step = blocks * family.block_size
    y = _padded(y, step)
    # The kernel reaches over the edges of a step.
    y = layers.Conv2D(_WIDTH, step + 2, strides=step, padding="same", activation="relu", kernel_initializer=draw())(y)
    for _ in range(_DEPTH):
        found = layers.SeparableConv2D(
            _WIDTH,
            _KERNEL,
            padding="same",
            activation="relu",
            depthwise_initializer=draw(),
            pointwise_initializer=draw(),
        )(y)
        y = layers.Add()([y, found])
    # What a step found, told apart into its blocks: a transposed convolution whose kernels do not overlap, as the
    # product that it is, in a third of the time. Its weights start as small as the convolution's, whose fans count the
    # blocks.
    height, width = y.shape[1:3]
    y = layers.Dense(blocks**2 * channels, kernel_initializer=draw(1 / blocks**2))(y)
    y = layers.Reshape((height, width, blocks, blocks, channels))(y)
    y = layers.Permute((1, 3, 2, 4, 5))(y)
    y = layers.Reshape((height * blocks, width * blocks, channels))(y)
    y = layers.Cropping2D(((0, y.shape[1] - rows), (0, y.shape[2] - columns)))(y)
    return keras.Model(inputs, layers.Flatten()(y), name="network")


def _whitening_network(input_shape: tuple[int, ...], family: Blocks) -> keras.Model:
    inputs = y = keras.Input(input_shape)
    if family.block_size > 1:
        y = _padded(y, family.block_size)
        y = keras.layers.AveragePooling2D(family.block_size)(y)
    dimensions = math.prod(family.code_shape(input_shape))
    dense = keras.layers.Dense(dimensions, trainable=False, kernel_initializer="zeros")
    return keras.Model(inputs, dense(keras.layers.Flatten()(y)), name="whitening")


def _padded(y: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """Images with zeros at the far edges, up to whole squares of a size."""
    height, width = y.shape[1:3]
    return keras.layers.ZeroPadding2D(((0, -height % size), (0, -width % size)))(y)


def _whitening(unit: np.ndarray, family: Blocks, seed: int) -> list[np.ndarray]:
    """Weights that tell what is unlike inputs, their benign corruptions and noise: the inverse of codes' covariance."""
    input_shape = unit.shape[1:]
    clean = unit[:_WHITENING_SAMPLES]
    kinds = corruptions.names(input_shape)
    share = max(1, len(clean) // len(kinds))
    corrupted = [corruptions.corrupt(clean[:share], kind, seed=seed) for kind in kinds]
    noise = np.random.default_rng(seed)
    sigma = np.float32(_WHITENING_NOISE * clean.std())
    codes = np.concatenate(
        [
            np.reshape(family.project(part + sigma * noise.standard_normal(part.shape, np.float32)), (len(part), -1))
            for part in (clean, *corrupted)
        ]
    )
    covariance = np.cov(codes.T, dtype=np.float64).reshape(codes.shape[1], -1)
    # Features that never vary would otherwise count without bound.
    ridge = 1e-4 + 1e-3 * np.trace(covariance) / len(covariance)
    precision = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))
    return [precision, -codes.mean(axis=0, dtype=np.float64) @ precision]
