"""What client evidence comes to with very many clients and queries: false accusations, delay, memory.

    python examples/at_scale/plan.py
    python examples/at_scale/plan.py --simulated 10000000 --queries 1000000000

Simulated are streams as the ledger's main statistic sees them: sums of normal numbers, looked at where it looks. Whose
queries do not depend on the key has mean 0. Memory is that of real ledgers, sealed as for Redis.
"""

import argparse

import numpy as np

from honeykeras.evidence import Ledger, Observations, Rules, Vault
from honeykeras.evidence.bounds import CHECKPOINTS, bound, share
from honeykeras.evidence.ledger import SHARES

CLASSES = 10
FAMILIES = {"MNIST, 784 dimensions": 784, "CIFAR-10, 768 dimensions": 768}
# How far a query draws on the key, in standard deviations, by docs/evidence.md: a converged attack, one that avoids
# averaged gradients, one adversarial query among ten.
DRIFTS = (3.0, 1.0, 0.3)
_CHUNK = 1_000_000


def bounds(alpha, number):
    """What the main statistic must reach at each of so many looks."""
    return bound(alpha * SHARES["all"] * share(np.arange(1, number + 1)) / CLASSES)


def falsely_accused(alpha, clients, queries, rng):
    """How many of so many clients are ever accused by chance alone."""
    looks = CHECKPOINTS[: np.searchsorted(CHECKPOINTS, queries, side="right")]
    limits, steps = bounds(alpha, len(looks)), np.diff(looks, prepend=0)
    accused = 0
    for start in range(0, clients, _CHUNK):
        count = min(_CHUNK, clients - start)
        sums, ever = np.zeros(count), np.zeros(count, bool)
        for limit, look, step in zip(limits, looks, steps, strict=True):
            sums += rng.normal(0, np.sqrt(step), count)
            ever |= np.abs(sums) >= limit * np.sqrt(look)
        accused += int(ever.sum())
    return accused


def delay(alpha, drift, rng, clients=2000):
    """After how many queries half of those who draw on the key are accused."""
    limits = bounds(alpha, len(CHECKPOINTS))
    sums, at = np.zeros(clients), np.zeros(clients)
    for limit, look, step in zip(limits, CHECKPOINTS, np.diff(CHECKPOINTS, prepend=0), strict=True):
        sums += rng.normal(drift * step, np.sqrt(step), clients)
        at[(at == 0) & (sums >= limit * np.sqrt(look))] = look
        if np.mean(at > 0) > 0.5:
            break
    return int(np.median(np.where(at > 0, at, np.inf)))


def sealed_size(dimensions, queries, rng):
    """Bytes of a client's ledger after so many queries."""
    rules = Rules(CLASSES, dimensions, nearness=0.0)
    ledger, patterns = Ledger(rules), rng.normal(size=(CLASSES, dimensions))
    views, readings = (rng.normal(size=(queries, dimensions)) for _ in range(2))
    classes = rng.integers(0, CLASSES, queries)
    ledger.add(
        Observations(
            classes,
            views.astype(np.float32),
            np.einsum("nd,nd->n", views, patterns[classes]),
            rng.normal(size=(queries, dimensions)).astype(np.float16),
            readings.astype(np.float16),
            readings @ patterns.T,
        )
    )
    return len(Vault(bytes(32)).seal("client", ledger))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", type=int, default=1_000_000, help="how many clients who depend on no key")
    parser.add_argument("--queries", type=int, default=1_000_000_000, help="how many each sends")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)

    print(f"Clients who depend on no key, {options.simulated:,} of {options.queries:,} queries each:")
    for alpha in (1e-1, 1e-2, 1e-3):
        found = falsely_accused(alpha, options.simulated, options.queries, rng)
        print(f"  alpha {alpha:g}: {found:,} accused, {alpha * options.simulated:,.0f} allowed")

    print(
        "\nAlpha such that one of so many is accused by chance, in the mean, and after how many queries half of those"
    )
    print("are accused who draw on the key by so many standard deviations a query:")
    print(f"{'clients':>13} {'alpha':>8} " + " ".join(f"{drift:>6}" for drift in DRIFTS))
    for clients in (1_000, 100_000, 10_000_000, 100_000_000):
        cells = [delay(1 / clients, drift, rng) for drift in DRIFTS]
        print(f"{clients:13,} {1 / clients:8.0e} " + " ".join(f"{cell:6,}" for cell in cells))

    print("\nA client's ledger, sealed, in kB, by its queries; and of 100 million clients, in TB:")
    for name, dimensions in FAMILIES.items():
        for queries in (1, 10, 100, 1000):
            size = sealed_size(dimensions, queries, rng)
            print(f"  {name}: {queries:5,} queries {size / 1e3:7.1f} kB {size * 1e8 / 1e12:7.2f} TB")


if __name__ == "__main__":
    main()
