"""Options that make attacks. Nothing here needs TensorFlow, but for making them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from honeykeras import names
from honeykeras.cli.options import COUNT, Real, together
from honeykeras.errors import InvalidArgumentError

_POSITIVE = Real(0, min_open=True)
_SHARE = Real(0, 1, min_open=True)
_AT_LEAST_TWO = click.IntRange(2)

_EPSILON = click.option(
    "--epsilon",
    type=_POSITIVE,
    help="pgd, nes, square, noise, stripes, blocks: radius of the ball. Defaults to what is customary for the data.",
)
_STEPS = click.option(
    "--steps",
    type=COUNT,
    help="pgd, ddn, sdf, fmn: how many steps to take. Defaults to 40, ddn and fmn to 100, sdf to 20.",
)
_GAMMA = click.option(
    "--gamma",
    type=_SHARE,
    help="jsma: greatest share of features to change. Defaults to 0.145. ddn, fmn: by which share the size of "
    "perturbations changes with a step. Defaults to 0.05.",
)
_MAX_QUERIES = click.option(
    "--max-queries",
    type=_AT_LEAST_TWO,
    help="nes, square, boundary, hop_skip_jump: queries for each image, at most. Defaults to 5000, hop_skip_jump to "
    "2500.",
)

# By attack. The name of each option is that of a setting in the attack's `get_config`. What is not given is None, and
# left to the attack.
_SETTINGS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "pgd": {
        "epsilon": _EPSILON,
        "norm": click.option(
            "--norm",
            type=click.Choice(names.NORMS),
            help="pgd: what the ball is measured in. Defaults to inf.",
        ),
        "steps": _STEPS,
        "step_size": click.option(
            "--step-size", type=_POSITIVE, help="pgd: how far each goes. Defaults to 2.5 * epsilon / steps."
        ),
        "random_start": click.option(
            "--random-start/--no-random-start", default=None, help="pgd: where to start. Defaults to a random point."
        ),
        "restarts": click.option(
            "--restarts", type=COUNT, help="pgd: how many times to start, to keep the best. Defaults to 1."
        ),
        "early_stop": click.option(
            "--early-stop/--no-early-stop", default=None, help="pgd: leave an image alone once it fools the model."
        ),
    },
    "cw": {
        "confidence": click.option(
            "--confidence", type=Real(0), help="cw: by how much the wrong class must lead, in logits. Defaults to 0."
        ),
        "binary_search_steps": click.option(
            "--binary-search-steps", type=COUNT, help="cw: how many constants to try. Defaults to 5."
        ),
        "max_iterations": click.option(
            "--max-iterations", type=COUNT, help="cw: steps for each constant, at most. Defaults to 1000."
        ),
        "learning_rate": click.option("--learning-rate", type=_POSITIVE, help="cw: Adam's. Defaults to 0.01."),
        "initial_const": click.option(
            "--initial-const", type=_POSITIVE, help="cw: the constant to start from. Defaults to 0.001."
        ),
        "abort_early": click.option(
            "--abort-early/--no-abort-early", default=None, help="cw: stop where the loss does. Defaults to stopping."
        ),
    },
    **{name: {"steps": _STEPS, "gamma": _GAMMA} for name in ("ddn", "fmn_l2", "fmn_linf", "fmn_l0")},
    "sdf": {
        "steps": _STEPS,
        "candidates": click.option(
            "--candidates", type=COUNT, help="sdf: how many classes each step looks at. Defaults to 3."
        ),
    },
    "jsma": {
        "theta": click.option("--theta", type=Real(), help="jsma: what is added to a feature. Defaults to 1."),
        "gamma": _GAMMA,
        "search": click.option(
            "--search",
            type=click.Choice(names.SEARCHES),
            help="jsma: how features are chosen, pairs (the paper's) or top2 (ART's). Defaults to pairs.",
        ),
    },
    "nes": {
        "epsilon": _EPSILON,
        "max_queries": _MAX_QUERIES,
        "samples_per_step": click.option(
            "--samples-per-step", type=_AT_LEAST_TWO, help="nes: queries for each estimate, even. Defaults to 50."
        ),
        "sigma": click.option(
            "--sigma", type=_POSITIVE, help="nes: standard deviation of the noise, in input units. Defaults to 0.01."
        ),
    },
    "square": {
        "epsilon": _EPSILON,
        "max_queries": _MAX_QUERIES,
        "p_init": click.option(
            "--p-init", type=_SHARE, help="square: share of an image that the first squares cover. Defaults to 0.8."
        ),
    },
    "boundary": {
        "max_queries": _MAX_QUERIES,
        "sidewards": click.option(
            "--sidewards",
            type=_SHARE,
            help="boundary: first steps along the boundary, a share of the distance. Defaults to 0.3.",
        ),
        "towards": click.option(
            "--towards", type=_SHARE, help="boundary: first steps towards the image, likewise. Defaults to 0.1."
        ),
    },
    "hop_skip_jump": {"max_queries": _MAX_QUERIES},
    **{name: {"epsilon": _EPSILON} for name in ("noise", "stripes", "blocks")},
}

NAMES = (
    "pgd (projected gradient descent), cw (Carlini-Wagner, L2), ddn, sdf (SuperDeepFool), fmn_l2, fmn_linf or fmn_l0 "
    "(the nearest, in fewer steps), jsma (Jacobian saliency map); by queries alone nes, square, boundary or "
    "hop_skip_jump; at random noise, stripes or blocks"
)
"""What help says of attacks."""

# One that several attacks share is one option.
settings = together(*dict.fromkeys(option for options in _SETTINGS.values() for option in options.values()))
chosen = click.option(
    "--attack",
    "attack_names",
    type=click.Choice(names.ATTACKS),
    multiple=True,
    default=["pgd"],
    show_default=True,
    help=f"Which: {NAMES}; repeatable.",
)


def check(attacks: Sequence[str], given: Mapping[str, Any]) -> None:
    """What can be told of attacks and settings without making them.

    Raises:
        InvalidArgumentError: If an attack is named twice, a setting is none of theirs, or one is missing.
    """
    if len(set(attacks)) < len(attacks):
        raise InvalidArgumentError(f"`--attack` must name no attack twice. Received: {', '.join(attacks)}.")
    for setting, value in given.items():
        if value is not None and not any(setting in _SETTINGS[name] for name in attacks):
            raise InvalidArgumentError(f"`--{setting.replace('_', '-')}` is no setting of {' or '.join(attacks)}.")
    if "pgd" in attacks and given.get("epsilon") is None and given.get("norm") not in (None, "inf"):
        raise InvalidArgumentError("`--epsilon` must be given: data sets have a customary radius for L-infinity only.")


def make(
    attacks: Sequence[str], given: Mapping[str, Any], data: Any, seed: int, *, targeted: bool = False
) -> list[Any]:
    """Makes attacks on a data set, each with those of the settings given that it has."""
    from honeykeras import attacks as made

    customary = {name: {"epsilon": data.epsilon} for name, known in _SETTINGS.items() if "epsilon" in known}
    return [
        made.get(
            name,
            **{
                **customary.get(name, {}),
                **{setting: given[setting] for setting in _SETTINGS[name] if given.get(setting) is not None},
            },
            targeted=targeted,
            input_range=data.input_range,
            seed=seed,
        )
        for name in attacks
    ]
