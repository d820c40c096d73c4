"""The attacks of CleverHans, ART and Foolbox, as `turns.Way`s with the budgets of ours."""

from __future__ import annotations

import inspect
import logging
import types
import warnings

import keras
import numpy as np
import tensorflow as tf
from cleverhans.tf2.attacks import carlini_wagner_l2
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent
from turns import Outcome, Way

import honeykeras as hk

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # ART warns that there is no PyTorch
    from art.attacks.evasion import CarliniL2Method, ProjectedGradientDescent, SaliencyMapMethod
    from art.estimators.classification import TensorFlowV2Classifier

import foolbox

logging.getLogger("tensorflow").setLevel(logging.ERROR)  # Foolbox calls what is deprecated, and ART retraces

# What is mended in CleverHans' `carlini_wagner_l2`, to the letter. A fresh Adam stands for zeroing all variables of
# the old one, which on Keras 3 fails, and without the parentheses zeroes the learning rate, too.
_MENDS = {
    "self.targeted = y is not None": "self.targeted = targeted",
    "const = tf.ones(shape) * self.initial_const": "const = tf.ones(shape[:1]) * self.initial_const",
    "for var in self.optimizer.variables():": "self.optimizer = tf.keras.optimizers.Adam(self.learning_rate)",
    "                var.assign(tf.zeros(var.shape, dtype=var.dtype))\n": "",
}


def cleverhans_pgd(model: keras.Model, ours: hk.attacks.PGD) -> Way:
    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        budget = (ours.epsilon, ours.step_size, ours.steps, np.inf)
        x_adv = projected_gradient_descent(
            model, tf.constant(x), *budget, clip_min=0.0, clip_max=1.0, y=tf.constant(y), rand_init=True
        )
        return Outcome(x_adv.numpy())

    return run


def art_pgd(model: keras.Model, ours: hk.attacks.PGD) -> Way:
    classifier = _art_classifier(model)

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        attack = ProjectedGradientDescent(
            classifier,
            eps=ours.epsilon,
            eps_step=ours.step_size,
            max_iter=ours.steps,
            num_random_init=1,
            batch_size=len(x),
            verbose=False,
        )
        return Outcome(attack.generate(x, _one_hot(y)))

    return run


def foolbox_pgd(model: keras.Model, ours: hk.attacks.PGD) -> Way:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=ours.step_size, steps=ours.steps, random_start=True)

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        goal = foolbox.criteria.Misclassification(tf.constant(y))
        return Outcome(attack.run(_Counted(model), tf.constant(x), goal, epsilon=ours.epsilon).numpy())

    return run


def cleverhans_cw(model: keras.Model, ours: hk.attacks.CarliniWagner) -> Way:
    """CleverHans' attack with its faults mended, since as it is it does not run."""
    source = inspect.getsource(carlini_wagner_l2)
    for fault, mend in _MENDS.items():
        if source.count(fault) != 1:
            raise RuntimeError(f"CleverHans is not what this mends: it must have once {fault!r}.")
        source = source.replace(fault, mend)
    mended = types.ModuleType("mended")
    exec(source, vars(mended))  # noqa: S102  # the rest of the attack is what CleverHans has

    class Counting(mended.CarliniWagnerL2):
        steps = 0

        def attack_step(self, *arguments):
            self.steps += 1
            return super().attack_step(*arguments)

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        attack = Counting(
            model,
            y,
            batch_size=len(x),
            binary_search_steps=ours.binary_search_steps,
            max_iterations=ours.max_iterations,
            confidence=ours.confidence,
            initial_const=ours.initial_const,
            learning_rate=ours.learning_rate,
        )
        return Outcome(attack.attack(x), attack.steps)

    return run


def foolbox_cw(model: keras.Model, ours: hk.attacks.CarliniWagner, *, compiled: bool = False) -> Way:
    """Foolbox's attack, which runs eagerly; with `compiled`, all but the model does."""
    called = tf.function(lambda x: model(x, training=False)) if compiled else model
    attack = foolbox.attacks.L2CarliniWagnerAttack(
        ours.binary_search_steps, ours.max_iterations, ours.learning_rate, ours.confidence, ours.initial_const
    )

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        counted = _Counted(called)
        x_adv = attack.run(counted, tf.constant(x), foolbox.criteria.Misclassification(tf.constant(y))).numpy()
        # Where it finds nothing, it gives a black image, which may well be taken for something else.
        found = x_adv.any(axis=(1, 2, 3), keepdims=True)
        return Outcome(np.where(found, x_adv, x), counted.calls)

    return run


def art_cw(model: keras.Model, ours: hk.attacks.CarliniWagner) -> Way:
    classifier = _art_classifier(model)

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        attack = CarliniL2Method(
            classifier,
            confidence=ours.confidence,
            learning_rate=ours.learning_rate,
            binary_search_steps=ours.binary_search_steps,
            max_iter=ours.max_iterations,
            initial_const=ours.initial_const,
            batch_size=len(x),
            verbose=False,
        )
        return Outcome(attack.generate(x, _one_hot(y)))

    return run


def art_jsma(model: keras.Model, ours: hk.attacks.JSMA) -> Way:
    classifier = _art_classifier(model)

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        attack = SaliencyMapMethod(classifier, ours.theta, ours.gamma, batch_size=len(x), verbose=False)
        return Outcome(attack.generate(x, _one_hot(y)))

    return run


def foolbox_minimum_norm(model: keras.Model, ours: hk.attacks.MinimumNorm) -> Way:
    """Foolbox's DDN or FMN. Its FMN for L2 does not project (`norms / norms`, in 3.3.4), and so is no FMN."""
    kinds = {
        "ddn": foolbox.attacks.DDNAttack,
        "fmn_l2": foolbox.attacks.L2FMNAttack,
        "fmn_linf": foolbox.attacks.LInfFMNAttack,
        "fmn_l0": foolbox.attacks.L0FMNAttack,
    }
    attack = kinds[ours.name](steps=ours.steps, gamma=ours.gamma)

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        counted = _Counted(model)
        x_adv = attack.run(counted, tf.constant(x), foolbox.criteria.Misclassification(tf.constant(y))).numpy()
        return Outcome(x_adv, counted.calls)

    return run


def foolbox_boundary(model: keras.Model, ours: hk.attacks.Boundary) -> Way:
    """Foolbox' boundary attack: a query a step, one more every tenth, and those of its start on top."""
    attack = foolbox.attacks.BoundaryAttack(steps=round(ours.max_queries / 1.1))

    def run(x: np.ndarray, y: np.ndarray) -> Outcome:
        goal = foolbox.criteria.Misclassification(tf.constant(y))
        return Outcome(attack.run(_Counted(model), tf.constant(x), goal).numpy())

    return run


class _Counted(foolbox.models.TensorFlowModel):
    """A model for Foolbox that counts its calls; in the attacks here, each is followed by a gradient."""

    def __init__(self, model):
        super().__init__(model, bounds=(0, 1))
        self.calls = 0

    def __call__(self, inputs):
        self.calls += 1
        return super().__call__(inputs)


def _art_classifier(model: keras.Model) -> TensorFlowV2Classifier:
    return TensorFlowV2Classifier(
        model,
        nb_classes=model.output_shape[1],
        input_shape=model.input_shape[1:],
        loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )


def _one_hot(y: np.ndarray) -> np.ndarray:
    return keras.utils.to_categorical(y, 10)
