"""`Attack`: one call shape for all attacks."""

from __future__ import annotations

import abc
import dataclasses
import reprlib
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from honeykeras import _checks, _progress
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.errors import InvalidArgumentError
from honeykeras.outputs import Logits, LogitsFunction, predict_labels
from honeykeras.ranges import InputRange, RangeLike

# On how many models an attack stays compiled: a honeypot is judged beside two others, in turns.
_MOST_COMPILED = 3

_Function = Callable[..., tuple[tf.Tensor, ...]]
_Run = Callable[..., list[np.ndarray]]


class Perturbed(NamedTuple):
    """What `Attack.perturb` gives for a batch.

    Attributes:
        x_adv: Adversarial inputs, of the shape and range of the inputs.
        queries: How many times the model was run on each, shape `(batch,)`, int64.
        gradients: How many gradients were taken for each, shape `(batch,)`, int64.
    """

    x_adv: tf.Tensor
    queries: tf.Tensor
    gradients: tf.Tensor


class Attack(abc.ABC):
    """An attack on a Keras classifier, by its gradients; `QueryAttack` is one by its answers.

    A subclass names itself, keeps its settings as attributes, returns them from `get_config`, and writes one
    method, `perturb`, in TensorFlow operations on a batch. It is compiled once for a model; batches of other
    sizes, later calls and weights that have moved on do not compile it again. Inside the scope of a
    `tf.distribute` strategy, each batch is divided among the replicas.

    Attributes:
        name: What reports and the command line call the attack.
        targeted: Whether the labels given are to be reached, rather than got away from.
        input_range: Least and greatest value of an input, or of each of its features; adversarial inputs stay within.
        seed: Seed of all that is random in the attack. The same seed gives the same result, in whatever batches.
        norm: What it keeps small, and reports measure it by: `"2"`, the Euclidean distance, `"inf"`, the change of the
            feature that changes most, or `"0"`, how many features change.
    """

    name: ClassVar[str]
    norm: str = "2"

    def __init__(
        self,
        *,
        targeted: bool = False,
        input_range: RangeLike = (0.0, 1.0),
        seed: int = 0,
    ) -> None:
        self.targeted = _checks.flag("targeted", targeted)
        self.input_range = InputRange.of(input_range)
        self.seed = _checks.seed(seed)
        self._compiled: list[_Compiled] = []

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest value of what `perturb` is given: the input range, or (0, 1) if each feature has its own.

        A distance over features of different units would mean nothing. So there inputs are scaled, and all distances
        are shares of each feature's width.
        """
        working = self.input_range.working
        return working.low, working.high

    @abc.abstractmethod
    def perturb(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        """Makes one batch adversarial; runs inside a `tf.function` without AutoGraph.

        What becomes of an input must not depend on the others in its batch.

        Args:
            logits: Function from inputs to the model's logits.
            x: Shape `(batch, ...)`, float32 in `bounds`.
            y: The labels to get away from, or to reach; shape `(batch,)`, int64.
            mask: Which features may change, shape of `x`, bool.
            seeds: A seed for each input, shape `(batch, 2)`, int64; the first number is below `2**32`.

        Returns:
            The adversarial inputs, and what they cost.
        """

    def generate(
        self,
        model: keras.Model,
        x: np.ndarray,
        y: np.ndarray | None = None,
        *,
        mask: np.ndarray | None = None,
        first: int = 0,
        batch_size: int = 128,
        verbose: int = 0,
    ) -> AdversarialExamples:
        """Makes adversarial examples.

        Args:
            model: The classifier to attack; its output may be logits or probabilities.
            x: Inputs, shape `(batch, ...)`, floating point in the input range.
            y: The labels to get away from, or to reach if the attack is targeted: class indices of shape
                `(batch,)`, or one-hot rows. An attack that is not targeted defaults to what the model predicts.
            mask: Which features the attack may change: bool, shape of one input, or of `x`. Defaults to all.
            first: Where in a longer data set `x` begins. What is random in an attack depends on the place of an
                input, so that a data set attacked in parts comes out as in one go.
            batch_size: How many inputs are attacked at a time, on all replicas together.
            verbose: 1 shows a progress bar, 0 nothing.

        Returns:
            The examples, with which of them fool the model. They are not quantised: see their `quantize`.

        Raises:
            InvalidArgumentError: If an argument has the wrong shape, dtype or range.
            ModelError: If the model cannot take `x`, or is no classifier.
        """
        x = _checks.inputs("x", x, None, self.input_range)
        mask = _checks.mask(mask, x.shape)
        first = _checks.whole_number("first", first, 0)
        batch_size = _checks.whole_number("batch_size", batch_size)
        if y is None and self.targeted:
            raise InvalidArgumentError(
                "`y` must hold the labels to reach, as the attack is targeted. Received: y=None."
            )
        compiled = self._compile(model, x.shape[1:])
        y = predict_labels(model, x) if y is None else _checks.labels("y", y, len(x), compiled.num_classes)
        seeds = np.stack([np.full(len(x), self.seed), first + np.arange(len(x))], axis=1)
        parts = []
        with _progress.bar(f"Attacking with {self.name}", len(x), "image", verbose) as progress:
            for start in range(0, len(x), batch_size):
                batch = slice(start, start + batch_size)
                parts.append(compiled.run(x[batch], y[batch], mask[batch], seeds[batch]))
                progress.update(len(x[batch]))
        x_adv, success, queries, gradients = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return AdversarialExamples(x, x_adv, y, success, queries, gradients, self.targeted, self.input_range)

    def fooled(self, logits: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Whether logits, shape `(batch, classes)`, are what the attack wants; shape `(batch,)`, bool."""
        finite = tf.reduce_all(tf.math.is_finite(logits), axis=1)
        return finite & ((tf.argmax(logits, axis=1) == y) == self.targeted)

    def get_config(self) -> dict[str, Any]:
        """The attack's settings as plain data; `from_config` takes them back."""
        return {"targeted": self.targeted, "input_range": self.input_range.get_config(), "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Attack:
        """The attack that `get_config` described."""
        return cls(**config)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={reprlib.repr(value)}" for name, value in self.get_config().items())
        return f"{type(self).__name__}({settings})"

    def _perturb_scaled(
        self, logits: LogitsFunction, x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor
    ) -> Perturbed:
        """`perturb` on inputs whose features have been scaled to [0, 1], each by its own range."""
        low, high = self.input_range.ends()

        def unscale(unit: tf.Tensor) -> tf.Tensor:
            return low + (high - low) * unit

        # In double precision, so that the ends become 0 and 1 whatever way the division is optimised.
        wide_low, wide_high = low.astype(np.float64), high.astype(np.float64)
        unit = tf.cast((tf.cast(x, tf.float64) - wide_low) / (wide_high - wide_low), tf.float32)
        perturbed = self.perturb(_Before(logits, unscale), unit, y, mask, seeds)
        # Clipped here only, as the sum may round to beyond the ends: there, a clip before the model would cut off the
        # gradient. What has not moved stays as it was to the bit.
        moved = tf.clip_by_value(unscale(perturbed.x_adv), low, high)
        return perturbed._replace(x_adv=tf.where(perturbed.x_adv == unit, x, moved))

    def _compile(self, model: keras.Model, input_shape: tuple[int, ...]) -> _Compiled:
        """Compiles the attack on a model, or returns what was compiled before if nothing has changed since."""
        strategy = tf.distribute.get_strategy()

        def state() -> str:
            # The identities of the variables tell when a model was rebuilt under the same name.
            return repr((input_shape, self.get_config(), [id(weight) for weight in model.weights], id(strategy)))

        known = [each for each in self._compiled if each.model is not model or each.state == state()]
        compiled = next((each for each in known if each.model is model), None)
        if compiled is None:
            logits = self._look(model, input_shape)
            perturb = self._perturb_scaled if self.input_range.shape else self.perturb

            def attack(x: tf.Tensor, y: tf.Tensor, mask: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
                perturbed = perturb(logits, x, y, mask, seeds)
                success = self.fooled(logits(perturbed.x_adv), y)
                return perturbed.x_adv, success, perturbed.queries, perturbed.gradients

            run = self._runner(attack, input_shape)
            # Asked again: a model that was not built has its variables only now.
            compiled = _Compiled(model, state(), logits.num_classes, run)
        others = [each for each in known if each is not compiled]
        self._compiled = [compiled, *others[: _MOST_COMPILED - 1]]
        return compiled

    def _look(self, model: keras.Model, input_shape: tuple[int, ...]) -> Logits:
        """The logits of a model that the attack can work on."""
        logits = Logits(model, input_shape)
        logits.check_gradient()
        return logits

    def _runner(self, attack: _Function, input_shape: tuple[int, ...]) -> _Run:
        """What runs a function of a batch: inputs, labels, masks and seeds."""
        signature = [
            tf.TensorSpec([None, *input_shape], tf.float32),
            tf.TensorSpec([None], tf.int64),
            tf.TensorSpec([None, *input_shape], tf.bool),
            tf.TensorSpec([None, 2], tf.int64),
        ]
        return _replicated(tf.distribute.get_strategy(), attack, signature)


class _Before:
    """The logits of what a function makes of an input."""

    def __init__(self, logits: LogitsFunction, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        self._logits, self._function = logits, function
        self.num_classes = logits.num_classes

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self._logits(self._function(x))


@dataclasses.dataclass(frozen=True)
class _Compiled:
    """An attack, as it was set, on a model, as it was built."""

    model: keras.Model
    state: str
    num_classes: int
    run: _Run


def _replicated(strategy: tf.distribute.Strategy, function: _Function, signature: list[tf.TensorSpec]) -> _Run:
    """Compiles a function of batches so that every replica of a strategy takes its part of each."""
    replicas = strategy.num_replicas_in_sync

    # One argument for each replica's part of each batch: what a signature cannot say of distributed values.
    def on_replicas(*parts: tf.Tensor) -> list[tuple[tf.Tensor, ...]]:
        if replicas == 1:
            return [function(*parts)]
        width = len(signature)
        distributed = [
            strategy.experimental_distribute_values_from_function(
                lambda context, place=place: parts[context.replica_id_in_sync_group * width + place]
            )
            for place in range(width)
        ]
        results = strategy.run(function, args=distributed)
        return list(zip(*(strategy.experimental_local_results(result) for result in results), strict=True))

    # Traced here: a `tf.function` that is traced when it is called counts as retracing with every attack made.
    compiled = tf.function(on_replicas, autograph=False).get_concrete_function(*signature * replicas)

    def run(*batches: np.ndarray) -> list[np.ndarray]:
        size = len(batches[0])
        if size < replicas:
            # A replica without an input takes one over: not all of TensorFlow's kernels take an empty batch.
            batches = tuple(np.resize(batch, (replicas, *batch.shape[1:])) for batch in batches)
        parts = [part for parts in zip(*(np.array_split(b, replicas) for b in batches), strict=True) for part in parts]
        results = compiled(*map(tf.constant, parts))
        return [np.concatenate([np.asarray(part) for part in parts])[:size] for parts in zip(*results, strict=True)]

    return run
