"""The paper's evaluation, with its controls: the paper's own recipe and the default, and a report of each.

    python examples/paper/run.py mnist --output paper-mnist
    python examples/paper/run.py cifar10 --sweep-train-samples 10000 --output paper-cifar10

Sweeps both recipes (`sweep.py`, Fig. 4), measures them under all attacks (`measure.py`, Table I, Fig. 5), and leaves
`<dataset>-<recipe>-<seed>.json`, the same as a page, `.html`, and a model card, `.md`. Attackers who know of honeypots
are judged on the default recipe. A run that was interrupted goes on where it was, if it is started again with the same
options. It takes hours.
"""

import argparse
from pathlib import Path

# Beside this file.
import measure
import sweep

from honeykeras import attacks, recipes, report

# The scores of `full`, and the attackers who know of honeypots, are about keys of blocks.
_JUDGED = {
    recipes.PAPER.name: ["--no-branch", "--yardstick", "--baseline-detectors", "trapdoor"],
    recipes.BALANCED.name: ["--yardstick", "--security"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("dataset", help="what `honeykeras.data.load` reads, such as mnist")
    parser.add_argument("--recipes", nargs="+", choices=list(_JUDGED), default=list(_JUDGED), help="which recipes")
    parser.add_argument(
        "--attacks", nargs="+", choices=attacks.names(), default=measure.GRADIENT_ATTACKS, help="which attacks"
    )
    parser.add_argument("--steps", type=int, default=40, help="steps of projected gradient descent")
    parser.add_argument("--samples", type=int, default=200, help="images that each attack is run on")
    parser.add_argument("--epochs", type=int, help="epochs, instead of what the data set needs")
    parser.add_argument("--seed", type=int, default=0, help="seed of key, split, weights and attacks")
    parser.add_argument("--sweep-samples", type=int, default=100, help="images that attacks are run on in the sweep")
    parser.add_argument("--sweep-train-samples", type=int, help="images that the sweep trains on, instead of all")
    parser.add_argument("--sweep-vary", nargs="+", default=["poison_rate", "size", "amplitude"], help="what it varies")
    parser.add_argument("--output", type=Path, required=True, help="folder for all of it")
    options = parser.parse_args()
    common = [options.dataset, "--attacks", *options.attacks]
    if options.epochs:
        common += ["--epochs", str(options.epochs)]
    swept = sweep.run(sweep.arguments().parse_args([*common, *sweep_arguments(options)]))
    for recipe in options.recipes:
        chosen = [*common, "--recipe", recipe, "--steps", str(options.steps), "--samples", str(options.samples)]
        chosen += ["--output", str(options.output)]
        path = measure.record(measure.arguments().parse_args([*chosen, *_JUDGED[recipe]]), options.seed, swept)
        document = report.read(path)
        report.write_page(path.with_suffix(".html"), document, overwrite=True)
        path.with_suffix(".md").write_text(report.model_card(document), encoding="utf-8")
    print(f"The reports are in {options.output}.")


def sweep_arguments(options: argparse.Namespace) -> list[str]:
    """What the sweep is to be told."""
    given = ["--recipes", *options.recipes, "--vary", *options.sweep_vary, "--seed", str(options.seed)]
    given += ["--samples", str(options.sweep_samples), "--output", str(options.output / "sweep")]
    return given + (["--train-samples", str(options.sweep_train_samples)] if options.sweep_train_samples else [])


if __name__ == "__main__":
    main()
