"""Discrepancies of sub-samples out of one Gram matrix, against a loop that makes each its own kernels.

Both ways draw the same sub-samples of noise in the shape of MNIST, in turns, and their values are compared. The loop
computes each kernel matrix in compiled code (scikit-learn); one that goes from point to point takes several times as
long again.

    python tests/bench/indistinguishability.py --rounds 3
"""

import argparse
import time

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel

from honeykeras.evaluation import two_samples

SIZE = 50


def loop(first, second, rows, bandwidth):
    """Squared discrepancies within the first, within the second and across, shape `(3, subsamples)`."""

    def total(a, b):
        return rbf_kernel(a, b, gamma=1 / (2 * bandwidth**2)).sum()

    def squared_mmd(a, b):
        within = total(a, a) + total(b, b) - 2 * SIZE
        return within / (SIZE * (SIZE - 1)) - 2 * total(a, b) / SIZE**2

    return np.transpose(
        [
            (
                squared_mmd(first[i[:SIZE]], first[i[SIZE:]]),
                squared_mmd(second[j[:SIZE]], second[j[SIZE:]]),
                squared_mmd(first[i[:SIZE]], second[j[:SIZE]]),
            )
            for i, j in zip(*rows, strict=True)
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how many turns each way gets")
    parser.add_argument("--images", type=int, default=500, help="how many of each sample")
    parser.add_argument("--subsamples", type=int, default=1000, help="how many pairs of sub-samples of 50")
    options = parser.parse_args()
    noise = np.random.default_rng(0)
    first, second = noise.random((options.images, 784)), noise.random((options.images, 784)) * 0.98

    # As `compare` draws them.
    generator = np.random.default_rng(0)
    rows = [two_samples._draw(generator, options.images, options.subsamples, 2 * SIZE) for _ in (first, second)]
    seconds = {"one Gram matrix": [], "loop": []}
    for _ in range(options.rounds):
        started = time.perf_counter()
        found = two_samples.compare(first, second, subsamples=options.subsamples, size=SIZE)
        seconds["one Gram matrix"].append(time.perf_counter() - started)
        started = time.perf_counter()
        expected = loop(first, second, rows, found.bandwidth)
        seconds["loop"].append(time.perf_counter() - started)
    values = np.stack([found.within_first, found.within_second, found.across])
    print(f"greatest difference of {values.size} values: {np.abs(values - expected).max():.1e}")
    best = {way: min(times) for way, times in seconds.items()}
    median = {way: np.median(times) for way, times in seconds.items()}
    for way in seconds:
        print(f"{way:16} best {best[way]:.2f} s, median {median[way]:.2f} s")
    ratios = [figures["loop"] / figures["one Gram matrix"] for figures in (best, median)]
    print(f"ratio: {ratios[0]:.0f} of the best turns, {ratios[1]:.0f} of the medians")


if __name__ == "__main__":
    main()
