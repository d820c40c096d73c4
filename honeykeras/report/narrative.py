"""What a report says in words: how it was measured, how to repeat it, and its limits."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

ATTACKS = {
    "pgd": "Projected gradient descent",
    "cw": "Carlini-Wagner",
    "ddn": "DDN",
    "sdf": "SuperDeepFool",
    "fmn_l2": "FMN L2",
    "fmn_linf": "FMN L-infinity",
    "fmn_l0": "FMN L0",
    "jsma": "Saliency map attack",
    "nes": "NES",
    "square": "Square",
    "boundary": "Boundary",
    "hop_skip_jump": "HopSkipJump",
    "noise": "Random noise",
    "stripes": "Random stripes",
    "blocks": "Random blocks",
    "transfer": "PGD made without, sent to it",
    "overall": "all",
}
"""Attacks, as people call them."""


def attack_name(name: str) -> str:
    """What people call an attack. A user's own has the name that it gives itself."""
    return ATTACKS.get(name, name)


_NORMS = {"inf": "L-infinity", "2": "L2", "0": "features"}


def norm_name(norm: str) -> str:
    """What people call a norm."""
    return _NORMS[norm]


def budget(norm: str, value: float) -> str:
    """What people call a budget in a norm."""
    return f"{value:g} features" if norm == "0" else f"{norm_name(norm)} {value:.3g}"


def measured(document: Mapping[str, Any]) -> list[str]:
    """What was measured on what, one sentence each."""
    settings, environment, detection = document["settings"], document["environment"], document["detection"]
    recipe = settings.get("recipe")
    seconds = settings.get("seconds", {})
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    attacked = ", ".join(f"{name} {attack['n_attacked']}" for name, attack in detection["attacks"].items())
    lines = [
        f"Data: {settings.get('dataset', 'not stated')}, split by seed {settings.get('seed', 'not stated')} into parts "
        "that share no image: for training, for detectors and attackers to learn from, for calibration, and for tests.",
        f"Attacked images of the test part: {attacked}; only images that the model gets right, rounded to 8 bits "
        "after the attack, and only those that still fool the model count.",
        f"Clean images: {detection['n_clean']}. The threshold was calibrated on others, to "
        f"{detection['max_fpr']:.1%} false positives.",
        f"Detector: {detection['detector']}, id {detection.get('detector_id') or 'not stated'}.",
        "Controls: eight wrong keys, a model trained as long without a honeypot, and attacks on that sent to this one.",
    ]
    if recipe:
        lines.append(f"Recipe: {recipe['name']}, {settings.get('epochs', 'some')} epochs.")
    lines += [f"Time for the {stage}: {count} seconds." for stage, count in seconds.items()]
    return [
        *lines,
        f"Python {environment['python']} on {environment['machine']}, {environment['cpu_count']} processors; "
        f"{packages}.",
    ]


# Settings of a training, and the options that they were.
_TRAINED_WITH = (
    ("epochs", "epochs"),
    ("batch_size", "batch-size"),
    ("model", "model"),
    ("augment", "augment"),
    ("strategy", "strategy"),
)


def commands(document: Mapping[str, Any]) -> str:
    """Commands that repeat the measurement, as far as the settings tell them."""
    settings, detection = document["settings"], document["detection"]
    dataset, seed = shlex.quote(settings.get("dataset", "DATASET")), settings.get("seed", 0)
    if "image_size" in settings:
        dataset += f" --image-size {','.join(map(str, settings['image_size']))}"
    recipe = settings.get("recipe")
    named = f" --recipe {shlex.quote(recipe['name'])}" if recipe else ""
    trained = [f"--{option} {shlex.quote(str(settings[name]))}" for name, option in _TRAINED_WITH if name in settings]
    if "branch" in settings:
        trained.append("--branch" if settings["branch"] else "--no-branch")
    yardstick, security = document["indistinguishability"] is not None, document["security"] is not None
    judged = [
        *(f"--attack {shlex.quote(name)}" for name in detection["attacks"]),
        f"--kind {detection['detector']}",
        *(f"--baseline-detector {kind}" for kind in document["baselines"]),
        f"--max-fpr {detection['max_fpr']:g}",
        *([f"--samples {settings['samples']}"] if "samples" in settings else []),
        *(["--yardstick trained/yardstick.keras"] if yardstick else []),
        *(["--security"] if security else []),
        *(_simulated(document["clients"]) if document.get("clients") else []),
        *(["--curves"] if any(map(_narrowed, document.get("compared", {}).values())) else []),
    ]
    lines = [
        f"honeykeras train --dataset {dataset} --key watermark.key --seed {seed}{named}"
        f"{' --yardstick' if yardstick else ''}{''.join(f' {option}' for option in trained)} --output trained",
        "honeykeras evaluate --model trained/model.keras --baseline trained/baseline.keras --key watermark.key \\",
        f"    --dataset {dataset} --seed {seed} --output report.json \\",
        f"    {' '.join(judged)}",
    ]
    return "\n".join(["# With the key, and the attacks' settings that are listed below.", *lines])


def _simulated(clients: Mapping[str, Any]) -> list[str]:
    """The options that simulate as many clients."""
    most = max(kind["n"] for kind in clients.values() if isinstance(kind, Mapping))
    return [f"--clients {most}", f"--alpha {clients['alpha']:g}"]


def _narrowed(compared: Mapping[str, Any]) -> bool:
    """Whether an attack of a fixed radius was run at shares of it, too."""
    curve = compared.get("curve", ())
    return len(curve) > 1 and curve[-1]["budget"] == compared["budget"]


def limits(document: Mapping[str, Any]) -> list[str]:
    """What a reader must not take from a report."""
    lines = [
        "One training with a honeypot stands against one without. How much two trainings differ by chance is not in "
        "the intervals.",
        "What is not flagged is not safe: other attacks, other settings of the same, and attackers without gradients "
        "were not tried.",
        "Whoever knows the key, or recovers enough of it, gets past the detector.",
    ]
    if document["security"] is None:
        lines.append("Attackers who know of honeypots were not judged here.")
    if not document.get("clients"):
        lines.append("Clients' queries were judged one by one here, and not together.")
    if document["indistinguishability"] is None:
        lines.append("Whether an attacker notices the honeypot was not judged here.")
    if not document["detection"]["key_specific"]:
        lines.append("This kind of detector finds more than the key: what it catches is no evidence of the honeypot.")
    return lines
