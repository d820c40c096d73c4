"""Measures a recipe on a data set, under attacks and beside all controls, and leaves a record.

    python examples/paper/measure.py mnist --output record
    python examples/paper/measure.py cifar10 --seeds 0 1 2 --security --yardstick --output record
    python examples/paper/measure.py mnist --seeds 0 1 2 --clients 50 --output clients
    python examples/paper/measure.py mnist --seeds 0 1 2 --adversarial --attacks pgd cw ddn jsma --output anchored

Each seed has a key, a split, weights and attacks of its own, and a file `<dataset>-<recipe>-<seed>.json`: the report of
`honeykeras.report`, with the seconds that each stage took. What is there already is not done again: models are kept in
a folder of the same name. The records in `examples/paper/record` were made so, each on one core of two in use,
in the seconds that they state.
"""

import argparse
import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import honeykeras as hk
from honeykeras import attacks, data, detection, model_sources, models, provenance, recipes, report, training
from honeykeras.errors import InvalidArgumentError

GRADIENT_ATTACKS = ["pgd", "cw", "jsma"]

_MODELS = ("model", "baseline", "yardstick", "adversarial")


def example_master(seed: int) -> bytes:
    """Secret bytes that anyone can repeat, and that so keep no secret: for measurements alone."""
    return hashlib.sha256(f"honeykeras example {seed}".encode()).digest()


def example_key(recipe: str, seed: int, parts: data.Data, block_size: int | None = None) -> hk.WatermarkKey:
    """A key of such bytes, of the family that a recipe plants, or of blocks of a size."""
    family = hk.patterns.FAMILIES[recipes.get(recipe).family].for_inputs(parts.input_shape)
    if block_size:
        family = hk.patterns.Blocks(block_size)
    return hk.WatermarkKey(example_master(seed), parts.input_shape, parts.num_classes, pattern=family)


def make_attacks(names: list[str], parts: data.Data, seed: int, steps: int = 40) -> list[attacks.Attack]:
    """The attacks, as they are measured; `steps` are those of projected gradient descent."""
    settings = {
        **{name: {"epsilon": parts.epsilon, "seed": seed} for name in ("nes", "square", "noise", "stripes", "blocks")},
        "pgd": {"epsilon": parts.epsilon, "steps": steps, "seed": seed},
        # Far fewer iterations than the attack's defaults: quantising undoes the last of what they gain.
        "cw": {
            "binary_search_steps": 4,
            "max_iterations": 120,
            "learning_rate": 0.1,
            "initial_const": 1.0,
            "abort_early": False,
        },
    }
    return [attacks.get(name, **settings.get(name, {})) for name in names]


def train(options: argparse.Namespace, seed: int, parts: data.Data, folder: Path) -> tuple[dict, dict]:
    """Trains the models, or reads those of an interrupted run; returns them, and how they were trained."""
    honeypot = hk.Honeypot(example_key(options.recipe, seed, parts, options.block_size), options.recipe)
    epochs = options.epochs or training.default_epochs(len(parts.train))
    if not folder.exists():
        begin = time.monotonic()
        further = {"yardstick": options.yardstick, "adversarial": options.adversarial}
        build = model_sources.get(None, branch=options.branch)
        trained = training.train(parts, honeypot, epochs=epochs, build=build, **further, seed=seed, verbose=2)
        seconds = round(time.monotonic() - begin)
        # Renamed at the end: a folder of that name is complete.
        scratch = folder.with_name(f".{folder.name}")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        for name in _MODELS:
            if model := getattr(trained, name):
                models.save(model, scratch / f"{name}.keras")
        settings = provenance.settings_of(parts, honeypot, epochs=epochs, seed=seed)
        if options.branch is not None:
            settings["branch"] = options.branch
        provenance.write(
            scratch,
            {**settings, "seconds": {"training": seconds}},
            history=trained.history,
            baseline_history=trained.baseline_history,
        )
        scratch.rename(folder)
    wanted = {"dataset": options.dataset, "seed": seed, "key_id": honeypot.key.key_id, "epochs": epochs}
    try:
        used = provenance.read(folder / "model.keras")
        provenance.check(used, **wanted, branch=options.branch, recipe=honeypot.recipe.get_config())
    except InvalidArgumentError as error:
        raise SystemExit(f"{error} Choose another --output.") from None
    paths = {name: folder / f"{name}.keras" for name in _MODELS}
    found = {name: models.load(path) for name, path in paths.items() if path.exists()}
    for asked, name in ((options.yardstick, "yardstick"), (options.adversarial, "adversarial")):
        if asked and name not in found:
            raise SystemExit(f"{folder} holds no {name}.keras, as it was trained without. Choose another --output.")
    return found, used


def measure(options: argparse.Namespace, seed: int, folder: Path) -> dict:
    """Trains, attacks and judges once; returns the report."""
    parts = data.load(options.dataset, seed=seed)
    trained, used = train(options, seed, parts, folder)
    judged = make_attacks(options.attacks, parts, seed, options.steps)
    begin = time.monotonic()
    found = hk.evaluate(
        trained["model"],
        example_key(options.recipe, seed, parts, options.block_size),
        parts,
        baseline=trained["baseline"],
        attacks=judged,
        baseline_detectors=options.baseline_detectors,
        samples=options.samples,
        security=options.security,
        yardstick=trained["yardstick"] if options.yardstick else None,
        adversarial=trained["adversarial"] if options.adversarial else None,
        clients=options.clients,
        curves=options.curves,
        seed=seed,
    )
    settings = {
        **used,
        "samples": options.samples,
        "attacks": {attack.name: attack.get_config() for attack in judged},
        "seconds": {**used.get("seconds", {}), "evaluation": round(time.monotonic() - begin)},
    }
    return report.make(found, settings)


def record(options: argparse.Namespace, seed: int, swept: Sequence[hk.sweep.SweepResult] | None = None) -> Path:
    """Measures, unless that was done, and adds the sweep, if there is one; returns where the report is."""
    folder = options.output / f"{Path(options.dataset).stem}-{options.recipe}-{seed}"
    path = folder.with_suffix(".json")
    if not path.exists():
        options.output.mkdir(parents=True, exist_ok=True)
        report.write(path, measure(options, seed, folder))
    if swept:
        report.write(path, report.with_sweep(report.read(path), swept), overwrite=True)
    print(line(report.read(path)), flush=True)
    return path


def line(document: dict) -> str:
    """The record's main figures."""
    viability, detection = document["viability"], document["detection"]
    worst = max(each["flagged"] for each in detection["controls"]["corruptions"].values())
    wrong = detection["controls"]["wrong_key"]["attacks"]
    plain = detection["controls"]["no_honeypot"]["attacks"]
    caught = ", ".join(
        f"{name} {each['true_positive_rate']:.1%} (wrong key {wrong[name]['true_positive_rate']:.1%}, "
        f"no honeypot {plain[name]['true_positive_rate']:.1%}, n={each['n']})"
        for name, each in detection["attacks"].items()
    )
    return (
        f"seed {document['settings']['seed']}: accuracy {viability['clean_accuracy']:.2%} "
        f"(without {viability['baseline_clean_accuracy']:.2%}), FPR {detection['false_positive_rate']:.2%}, worst "
        f"corruption {worst:.1%}, {caught}"
    )


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("dataset", help="what `honeykeras.data.load` reads, such as mnist")
    parser.add_argument("--recipe", choices=[recipe.name for recipe in recipes.ALL], default=recipes.BALANCED.name)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds to measure")
    parser.add_argument("--attacks", nargs="+", choices=attacks.names(), default=GRADIENT_ATTACKS, help="which attacks")
    parser.add_argument("--steps", type=int, default=40, help="steps of projected gradient descent")
    parser.add_argument("--samples", type=int, default=200, help="images that each attack is run on")
    parser.add_argument("--epochs", type=int, help="epochs, instead of what the data set needs")
    parser.add_argument("--block-size", type=int, help="side of the blocks, instead of what suits the inputs")
    parser.add_argument(
        "--branch",
        action=argparse.BooleanOptionalAction,
        help="whether the classifier has a branch, instead of where inputs are images",
    )
    parser.add_argument(
        "--baseline-detectors",
        nargs="*",
        choices=detection.KINDS,
        default=["trapdoor", "full"],
        help="other kinds of detectors to judge on the same images",
    )
    parser.add_argument("--yardstick", action="store_true", help="also judge whether an attacker notices the honeypot")
    parser.add_argument("--adversarial", action="store_true", help="also train adversarially, to measure by")
    parser.add_argument("--security", action="store_true", help="also judge attackers who know of the honeypot")
    parser.add_argument("--clients", type=int, default=0, help="also simulate so many clients of each kind")
    parser.add_argument("--curves", action="store_true", help="also run attacks at shares of their radius")
    parser.add_argument("--output", type=Path, required=True, help="folder for the records")
    return parser


def main() -> None:
    options = arguments().parse_args()
    for seed in options.seeds:
        record(options, seed)


if __name__ == "__main__":
    main()
