"""The paper's viability sweep (Fig. 4): accuracy and reconstruction over poison rate, size and amplitude.

    python examples/paper/sweep.py mnist --output sweep
    python examples/paper/sweep.py digits --epochs 2 --train-samples 300 --samples 20 --attacks pgd --output sweep

Every point has a file in the output folder. A run that was interrupted goes on where it stopped, if it is started again
with the same options; once all points are there, it prints their figures at once.
"""

import argparse
from pathlib import Path

# Beside this file.
from measure import GRADIENT_ATTACKS, example_master, make_attacks

from honeykeras import attacks, data, recipes, sweep, training

_VARIED = {"poison_rate": ("poison_rate",), "size": ("watermark_size", "block_size"), "amplitude": ("amplitude",)}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("dataset", help="what `honeykeras.data.load` reads, such as mnist")
    names = [recipe.name for recipe in recipes.ALL]
    parser.add_argument("--recipes", nargs="+", choices=names, default=["paper", "balanced"], help="which recipes")
    parser.add_argument("--attacks", nargs="+", choices=attacks.names(), default=GRADIENT_ATTACKS, help="which attacks")
    parser.add_argument("--samples", type=int, default=100, help="images that each attack is run on")
    parser.add_argument("--epochs", type=int, help="epochs, instead of what the data set needs")
    parser.add_argument("--train-samples", type=int, help="images that are trained on, instead of all")
    parser.add_argument("--seed", type=int, default=0, help="seed of key, split, weights and attacks")
    parser.add_argument("--output", type=Path, required=True, help="folder for the points")
    parser.add_argument("--vary", nargs="+", choices=list(_VARIED), default=list(_VARIED), help="what to vary")
    return parser


def run(options: argparse.Namespace) -> list[sweep.SweepResult]:
    """Trains and attacks at all points that are not there yet; returns all."""
    varied = {name for chosen in options.vary for name in _VARIED[chosen]}
    parts = data.load(options.dataset, seed=options.seed)
    if options.train_samples:
        parts = parts.reduced(options.train_samples)
    points = [point for recipe in options.recipes for point in sweep.points(recipe, parts.input_shape)]
    results = sweep.run(
        parts,
        [point for point in points if point.varied in varied],
        options.output,
        master=example_master(options.seed),
        attacks=make_attacks(options.attacks, parts, options.seed),
        epochs=options.epochs or training.default_epochs(len(parts.train)),
        samples=options.samples,
        seed=options.seed,
        verbose=1,
    )
    for result in results:
        print(result)
    return results


def main() -> None:
    run(arguments().parse_args())


if __name__ == "__main__":
    main()
