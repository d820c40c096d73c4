"""Making every way out of a class expensive but the watermark: the callback's own training step.

Self-poisoning makes the watermark a way out of a class; an attacker takes it only if it is the cheapest. So the model
is also trained on adversarial examples whose perturbation has nothing of the key in it, with their true labels. An
alignment loss may turn input gradients towards the watermark as well. Neither is in the paper.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from honeykeras import passes, survey
from honeykeras.keys import WatermarkKey
from honeykeras.outputs import Logits
from honeykeras.poisoning import Planting
from honeykeras.watermark import Watermark, cosine

# Steps of the inner attack: with one, what is learnt does not hold against attacks of many.
_ATTACK_STEPS = 3

# Share of a training over which adversarial examples grow to their full strength.
_WARM_UP = 0.5

# How many patterns are kept out of a perturbation, as a share of the dimensions it has. All of them, unless there are
# so many classes that little would remain; then those of the likeliest classes.
_MOST_PATTERNS = 0.25


class Hardening:
    """Trains a model on off-key adversarial examples, a batch at a time.

    The model's own optimizer is left alone: a second one of the same kind follows its learning rate. The model runs in
    inference mode, as attackers see it: batch statistics and dropout are those of deployment.
    """

    def __init__(
        self,
        model: keras.Model,
        logits: Logits,
        key: WatermarkKey,
        planting: Planting,
        batch_size: int,
        steps: int,
    ) -> None:
        """Prepares the training.

        Args:
            model: The compiled model.
            logits: The model's logits.
            key: The secret whose watermark is planted.
            planting: What is planted in which data.
            batch_size: How many adversarial examples a step.
            steps: How many steps there are in the whole training, from its first epoch on.
        """
        self._model, self._logits = model, logits
        self._key, self._planting = key, planting
        self._recipe, self._watermark = planting.recipe, Watermark(key)
        self._num_classes = key.num_classes
        self._seed = tf.constant(key.draw_seed("hardening"))
        self._low, self._high = key.input_range.ends()
        self._width = key.input_range.width
        self._steps, self._done = steps, 0
        self._strategy = model.distribute_strategy
        # Every replica needs an input.
        self._batch_size = max(batch_size, self._strategy.num_replicas_in_sync)
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
        batches = _clean_batches(self._planting, self._key, self._batch_size, done)
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
        strength = tf.constant(min(1.0, progress / _WARM_UP), tf.float32)
        self._run(next(self._batches), strength, tf.random.fold_in(self._seed, self._done))

    def _distributed_step(self, batch: tuple[tf.Tensor, tf.Tensor], strength: tf.Tensor, seed: tf.Tensor) -> None:
        def on_replica(x: tf.Tensor, y: tf.Tensor) -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            self._train(x, y, strength, tf.random.fold_in(seed, replica))

        self._strategy.run(on_replica, args=batch)

    def _train(self, x: tf.Tensor, y: tf.Tensor, strength: tf.Tensor, seed: tf.Tensor) -> None:
        radius = strength * self._recipe.adversarial_epsilon
        x_adv = self._off_key_attack(x, y, radius, seed) if self._recipe.adversarial_epsilon else x
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self._cross_entropy(x_adv, y))
            if self._recipe.alignment:
                loss += strength * self._recipe.alignment * (1 - tf.reduce_mean(self._alignment(x, y, seed)))
            # Gradients of replicas are summed.
            loss = self._optimizer.scale_loss(loss / self._strategy.num_replicas_in_sync)
        variables = self._model.trainable_variables
        self._optimizer.apply(tape.gradient(loss, variables), variables)

    def _cross_entropy(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(y, self._logits(x))

    def _off_key_attack(self, x: tf.Tensor, y: tf.Tensor, radius: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Projected gradient descent in the L-infinity norm, with the patterns kept out of the perturbation."""
        threats = self._threats(x, y)

        def off_key(delta: tf.Tensor) -> tf.Tensor:
            return delta - self._part_in(delta, threats)

        one_each = tf.concat([tf.shape(x)[:1], tf.ones(len(x.shape) - 1, tf.int32)], axis=0)
        # Of all sizes: what is between no perturbation and the greatest must keep its label, too.
        radius *= tf.random.stateless_uniform(one_each, tf.random.fold_in(seed, 0), 0.3, 1.0)
        delta = off_key(radius * tf.random.stateless_uniform(tf.shape(x), tf.random.fold_in(seed, 1), -1.0, 1.0))
        for _ in range(_ATTACK_STEPS):
            with tf.GradientTape() as tape:
                tape.watch(delta)
                loss = tf.reduce_sum(self._cross_entropy(self._add(x, delta), y))
            direction = tf.sign(off_key(tape.gradient(loss, delta)))
            delta = tf.clip_by_value(off_key(delta + 2 * radius / _ATTACK_STEPS * direction), -radius, radius)
        return tf.stop_gradient(self._add(x, delta))

    def _add(self, x: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(x + self._width * delta, self._low, self._high)

    def _threats(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Codes of the patterns to keep out, shape `(batch, patterns, dimensions)`."""
        size = self._watermark.code_size
        count = min(self._watermark.num_patterns, max(1, int(_MOST_PATTERNS * size)))
        likeliest = tf.math.top_k(self._logits(x), count).indices
        codes = self._watermark.codes(tf.reshape(likeliest, [-1]))
        return tf.reshape(codes, [-1, count, size])

    def _part_in(self, delta: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        """What of a perturbation lies in the span of patterns."""
        seen = tf.reshape(self._watermark.project(delta), [-1, codes.shape[2], 1])
        # Nearly parallel patterns would make the system singular.
        gram = tf.matmul(codes, codes, transpose_b=True) + 1e-3 * tf.eye(codes.shape[1])
        weights = tf.linalg.solve(gram, tf.matmul(codes, seen))
        return self._watermark.expand(tf.matmul(codes, weights, transpose_a=True)[..., 0])

    def _alignment(self, x: tf.Tensor, y: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Cosine of the input gradient towards a random other class and that class's pattern, shape `(batch,)`."""
        shift = tf.random.stateless_uniform(tf.shape(y), tf.random.fold_in(seed, 2), 1, self._num_classes, y.dtype)
        target = (y + shift) % self._num_classes
        with tf.GradientTape() as tape:
            tape.watch(x)
            difference = tf.one_hot(target, self._num_classes) - tf.one_hot(y, self._num_classes)
            lead = tf.reduce_sum(self._logits(x) * difference)
        return cosine(tape.gradient(lead, x) * self._width, self._watermark.patterns(target))


def _clean_batches(planting: Planting, key: WatermarkKey, batch_size: int, done: int) -> tf.data.Dataset:
    """Batches without end, from the one on that follows so many."""
    clean = planting.clean
    if survey.check_structure(clean, key.input_shape, key.num_classes):
        clean = clean.unbatch()
    seed = int(key.draw_seed("hardening order")[0])
    first, place = divmod(done * batch_size, planting.num_samples)
    # Data that is sorted by class must not give batches of one class.
    batches = passes.endless(clean, seed, first).skip(place).batch(batch_size, drop_remainder=True)
    return batches.map(lambda x, y, *_: (tf.cast(x, tf.float32), survey.class_index(y))).prefetch(2)


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
