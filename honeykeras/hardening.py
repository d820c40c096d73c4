"""Making ways out of a class expensive, all but the watermark: a callback's own training step.

Self-poisoning makes the watermark a way out of a class; an attacker takes it only if it is the cheapest. So the model
is also trained on adversarial examples whose perturbation has nothing of the key in it, with their true labels. An
alignment loss may turn input gradients towards the watermark as well. Neither is in the paper.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _optimizers, passes, random_patterns, survey
from honeykeras._files import PathLike, as_path
from honeykeras.attacks.loops import repeat
from honeykeras.outputs import Logits
from honeykeras.ranges import InputRange
from honeykeras.recipes import Recipe
from honeykeras.state_backup import StateBackup
from honeykeras.transfer_examples import TransferExamples
from honeykeras.watermark import Watermark, cosine

# How many patterns are kept out of a perturbation, as a share of the dimensions it has. All of them, unless there are
# so many classes that little would remain; then those of the likeliest classes.
_MOST_PATTERNS = 0.25

# What the size of a training batch is taken for where Keras does not know how many there are.
_BATCH_SIZE = 128


@dataclasses.dataclass(frozen=True)
class Samples:
    """What a model is trained on, and what decides its draws.

    Attributes:
        dataset: Elements `(x, y)` or `(x, y, ...)`, batched or not.
        count: How many samples that is.
        input_shape: Shape of one input.
        input_range: Least and greatest value of an input.
        num_classes: How many classes there are.
        seed: Of the adversarial examples, shape `(2,)`, int64.
        order_seed: Of the order of the samples.
    """

    dataset: tf.data.Dataset
    count: int
    input_shape: tuple[int, ...]
    input_range: InputRange
    num_classes: int
    seed: np.ndarray
    order_seed: int

    def batches(self, batch_size: int, done: int) -> tf.data.Dataset:
        """Batches of inputs and class indices without end, from the one on that follows so many."""
        samples = self.dataset
        if survey.check_structure(samples, self.input_shape, self.num_classes):
            samples = samples.unbatch()
        first, place = divmod(done * batch_size, self.count)
        # Data that is sorted by class must not give batches of one class.
        batches = passes.endless(samples, self.order_seed, first).skip(place).batch(batch_size, drop_remainder=True)
        return batches.map(lambda x, y, *_: (tf.cast(x, tf.float32), survey.class_index(y))).prefetch(2)


class Hardens(keras.callbacks.Callback):
    """A callback that follows each training step with one of `Hardening`."""

    def __init__(self, backup_dir: PathLike | None = None) -> None:
        """Makes the callback.

        Args:
            backup_dir: A folder for the state of the second optimizer after each epoch, to go on with.
        """
        super().__init__()
        self._begun, self._trained, self._samples = False, 0, 0
        self._hardening: Hardening | None = None
        self._backup = None if backup_dir is None else StateBackup(as_path(backup_dir), "hardening")

    def harden(
        self,
        samples: Samples,
        recipe: Recipe,
        watermark: Watermark | None = None,
        made: TransferExamples | None = None,
    ) -> None:
        """Prepares the training that begins; to be called when it does."""
        logits = Logits(self.model, samples.input_shape, samples.num_classes)
        self._samples = samples.count
        steps = self._steps()
        batch_size = max(1, round(recipe.adversarial_share * samples.count / steps))
        total = steps * self.params.get("epochs", 1)
        self._hardening = Hardening(self.model, logits, samples, recipe, watermark, batch_size, total, made)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._begun = False

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._hardening = None
        if self._backup:
            self._backup.remove()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._begun and self._hardening:
            self._hardening.begin(epoch * self._steps())
            if self._backup:
                self._backup.restore(self._hardening.variables, epoch)
        self._begun, self._trained = True, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # With `steps_per_execution`, Keras tells of several steps at once.
        if self._hardening:
            done = min(batch + 1, self.params.get("steps") or batch + 1)
            for _ in range(done - self._trained):
                self._hardening.step()
            self._trained = done

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._backup and self._hardening:
            self._backup.save(self._hardening.variables, epoch + 1)

    def _steps(self) -> int:
        return self.params.get("steps") or math.ceil(self._samples / _BATCH_SIZE)


class Hardening:
    """Trains a model on adversarial examples, a batch at a time: off the key, where there is one.

    The model's own optimizer is left alone: a second one of the same kind follows its learning rate. The model runs in
    inference mode, as attackers see it: batch statistics and dropout are those of deployment.
    """

    def __init__(
        self,
        model: keras.Model,
        logits: Logits,
        samples: Samples,
        recipe: Recipe,
        watermark: Watermark | None,
        batch_size: int,
        steps: int,
        made: TransferExamples | None = None,
    ) -> None:
        """Prepares the training.

        Args:
            model: The compiled model.
            logits: The model's logits.
            samples: What it is trained on.
            recipe: How; what adversarial examples are and how much alignment there is.
            watermark: What is kept out of perturbations, and gradients are turned to. Without one, nothing is.
            batch_size: How many adversarial examples a step.
            steps: How many steps there are in the whole training, from its first epoch on.
            made: What was made on other models beforehand, if the recipe has a share of it.
        """
        self._model, self._logits = model, logits
        self._samples, self._recipe, self._watermark = samples, recipe, watermark
        self._made = None if made is None else TransferExamples(*map(tf.constant, made))
        self._seed = tf.constant(samples.seed)
        self._low, self._high = samples.input_range.ends()
        self._width = samples.input_range.width
        self._steps, self._done = steps, 0
        self._strategy = model.distribute_strategy
        # Every replica needs an input.
        self._batch_size = max(batch_size, self._strategy.num_replicas_in_sync)
        _optimizers.build(model)
        with self._strategy.scope():
            self._optimizer = _twin(model.optimizer)
            self._optimizer.build(model.trainable_variables)
        self._run = tf.function(self._distributed_step, autograph=False)

    def begin(self, done: int) -> None:
        """Begins, or goes on with the images and the draws of where a training stopped.

        Args:
            done: How many steps were made before.
        """
        self._done = done
        batches = self._samples.batches(self._batch_size, done)
        self._batches = iter(self._strategy.experimental_distribute_dataset(batches))

    @property
    def variables(self) -> list[keras.Variable]:
        """What the optimizer has gathered, to go on with in another process."""
        return self._optimizer.variables

    def step(self) -> None:
        """Trains on one batch."""
        progress = self._done / self._steps
        self._done += 1
        self._optimizer.learning_rate = _learning_rate(self._model.optimizer)
        strength = tf.constant(min(1.0, progress / self._recipe.adversarial_warm_up), tf.float32)
        self._run(next(self._batches), strength, tf.random.fold_in(self._seed, self._done))

    def _distributed_step(self, batch: tuple[tf.Tensor, tf.Tensor], strength: tf.Tensor, seed: tf.Tensor) -> None:
        def on_replica(x: tf.Tensor, y: tf.Tensor) -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            self._train(x, y, strength, tf.random.fold_in(seed, replica))

        self._strategy.run(on_replica, args=batch)

    def _train(self, x: tf.Tensor, y: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor) -> None:
        radius = strength * self._recipe.adversarial_epsilon
        x_adv, labels = self._adversarial(x, y, radius, strength, seed) if self._recipe.adds_examples else (x, y)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self._cross_entropy(x_adv, labels))
            if self._recipe.alignment and self._watermark:
                aligned = self._alignment(self._watermark, x, y, seed)
                loss += strength * self._recipe.alignment * (1 - tf.reduce_mean(aligned))
            # Gradients of replicas are summed.
            loss = self._optimizer.scale_loss(loss / self._strategy.num_replicas_in_sync)
        variables = self._model.trainable_variables
        self._optimizer.apply(tape.gradient(loss, variables), variables)

    def _cross_entropy(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, self._logits(x))

    def _adversarial(
        self, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """A batch of examples and their labels: some made before, some with random patterns, the rest attacked."""
        count = tf.cast(tf.shape(x)[0], tf.float32)
        shares = (self._recipe.transfer_share if self._made else 0.0, self._recipe.random_share)
        made, patterned = (tf.cast(share * count, tf.int32) for share in shares)
        parts, labels = [], [y[made:]]
        if self._made:
            places = tf.random.stateless_uniform(
                [made], tf.random.fold_in(seed, 4), 0, len(self._made.labels), tf.int64
            )
            unit = tf.cast(tf.gather(self._made.levels, places), tf.float32) / 255
            parts.append(self._low + unit * (self._high - self._low))
            labels.insert(0, tf.cast(tf.gather(self._made.labels, places), y.dtype))
        if self._recipe.random_share:
            parts.append(self._patterned(x[made : made + patterned], strength, seed))
        rest = made + patterned
        left = x[rest:]
        parts.append(self._attack(left, y[rest:], radius, seed) if self._recipe.adversarial_epsilon else left)
        return tf.concat(parts, axis=0), tf.concat(labels, axis=0)

    def _patterned(self, x: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Inputs with random patterns."""
        count, drawn = tf.shape(x)[0], tf.random.fold_in(seed, 3)
        signs = random_patterns.mixed(self._samples.input_shape, count, tf.random.fold_in(drawn, 0))
        one_each = tf.concat([[count], tf.ones(len(x.shape) - 1, tf.int32)], axis=0)
        amplitude = strength * self._recipe.random_epsilon * tf.random.stateless_uniform(one_each, drawn, 0.5, 1.0)
        return self._add(x, amplitude * signs)

    def _attack(self, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Projected gradient descent in the L-infinity norm, with the patterns kept out of the perturbation."""
        allowed = self._off_key(self._watermark, x) if self._watermark else tf.identity
        steps = self._recipe.adversarial_steps
        one_each = tf.concat([tf.shape(x)[:1], tf.ones(len(x.shape) - 1, tf.int32)], axis=0)
        # Of all sizes: what is between no perturbation and the greatest must keep its label, too.
        share = tf.random.stateless_uniform(one_each, tf.random.fold_in(seed, 0), self._recipe.adversarial_least, 1.0)
        radius *= share
        start = tf.random.fold_in(seed, 1)
        x_adv = self._add(x, allowed(radius * tf.random.stateless_uniform(tf.shape(x), start, -1.0, 1.0)))

        def climb(x_adv: tf.Tensor) -> tf.Tensor:
            # Taken where the input is, and that is kept in range: what is clipped away has no gradient, and would stay.
            with tf.GradientTape() as tape:
                tape.watch(x_adv)
                loss = tf.reduce_sum(self._cross_entropy(x_adv, y))
            direction = tf.sign(allowed(tape.gradient(loss, x_adv) * self._width))
            delta = allowed((x_adv - x) / self._width + 2 * radius / steps * direction)
            return self._add(x, tf.clip_by_value(delta, -radius, radius))

        return tf.stop_gradient(repeat(climb, steps, x_adv))

    def _off_key(self, watermark: Watermark, x: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
        """Takes out of perturbations of some inputs what lies in the span of patterns."""
        size = watermark.code_size
        count = min(watermark.num_patterns, max(1, int(_MOST_PATTERNS * size)))
        # All patterns are the same for all inputs, and need no look at them.
        some = count < watermark.num_patterns
        kept_out = tf.math.top_k(self._logits(x), count).indices if some else tf.range(count)
        codes = tf.reshape(watermark.codes(tf.reshape(kept_out, [-1])), [-1, count, size])
        # Nearly parallel patterns would make the system singular.
        inverse = tf.linalg.inv(tf.matmul(codes, codes, transpose_b=True) + 1e-3 * tf.eye(count))

        def off_key(delta: tf.Tensor) -> tf.Tensor:
            seen = tf.reshape(watermark.project(delta), [-1, size, 1])
            weights = tf.matmul(inverse, tf.matmul(codes, seen))
            return delta - watermark.expand(tf.matmul(codes, weights, transpose_a=True)[..., 0])

        return off_key

    def _add(self, x: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(x + self._width * delta, self._low, self._high)

    def _alignment(self, watermark: Watermark, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Cosine of the input gradient towards a random other class and that class's pattern, shape `(batch,)`."""
        classes = self._samples.num_classes
        shift = tf.random.stateless_uniform(tf.shape(y), tf.random.fold_in(seed, 2), 1, classes, y.dtype)
        target = (y + shift) % classes
        with tf.GradientTape() as tape:
            tape.watch(x)
            difference = tf.one_hot(target, classes) - tf.one_hot(y, classes)
            lead = tf.reduce_sum(self._logits(x) * difference)
        return cosine(tape.gradient(lead, x) * self._width, watermark.patterns(target))


def _twin(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """A new optimizer of the same kind and settings, for gradients of its own."""
    scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    inner = optimizer.inner_optimizer if scales else optimizer
    config = inner.get_config()
    # One step is one update here, and what the user's own averaging or accumulation counts stays the user's.
    config.update(learning_rate=_learning_rate(inner), use_ema=False, gradient_accumulation_steps=None)
    twin = type(inner).from_config(config)
    return keras.optimizers.LossScaleOptimizer(twin) if scales else twin


def _learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    # A variable of several replicas is no number to Python.
    return float(keras.ops.convert_to_numpy(optimizer.learning_rate))
