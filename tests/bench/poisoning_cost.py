"""What the poisoning transform adds to a plain `model.fit`, on MNIST unless told otherwise.

The same training, with the transform and without, in turns of a few seconds, so that what else the machine does meets
all of them. Stated as ratios to the plain training: of the best turns, of the median turns, and of the processor's
time, which other processes disturb least. The row "plain again" is the noise that the others have to be read against.
Each turn begins a pass, and so pays for drawing what a whole epoch poisons; the one pass that `apply` makes to count
the classes is stated on its own.

    python tests/bench/poisoning_cost.py --rounds 15
"""

import argparse
import statistics
import time

import keras
import tensorflow as tf

import honeykeras as hk


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="how many turns each way gets")
    parser.add_argument(
        "--batches", type=int, default=100, help="how many batches of 128 a turn takes; 415 are an epoch"
    )
    parser.add_argument("--dataset", default="mnist", help="what to train on")
    arguments = parser.parse_args()
    data = hk.data.load(arguments.dataset)
    key = hk.WatermarkKey.generate(data.input_shape, data.num_classes, pattern=hk.patterns.Scattered())
    honeypot, other = hk.Honeypot(key, "paper"), hk.Honeypot(key, "paper")
    shuffled = data.train.dataset().shuffle(1000)

    started = time.perf_counter()
    poisoned = shuffled.apply(honeypot.poison)
    count_seconds = time.perf_counter() - started
    ways = {
        "plain": shuffled.batch(128),
        "plain again": shuffled.batch(128),
        "poisoned, then batched": poisoned.batch(128),
        "batched, then poisoned": shuffled.batch(128).apply(other.poison),
    }
    ways = {way: dataset.take(arguments.batches).prefetch(tf.data.AUTOTUNE) for way, dataset in ways.items()}
    keras.utils.set_random_seed(0)
    model = hk.models.small_cnn(data.input_shape, data.num_classes)
    wall, processor = {way: [] for way in ways}, {way: [] for way in ways}
    for turn in range(arguments.rounds + 1):
        for each in (honeypot, other):
            each.set_epoch(turn)
        for way, dataset in ways.items():
            started, processor_started = time.perf_counter(), time.process_time()
            model.fit(dataset, verbose=0, shuffle=False)
            if turn:  # the first round compiles
                wall[way].append(time.perf_counter() - started)
                processor[way].append(time.process_time() - processor_started)

    images = len(data.train) / (128 * arguments.batches)
    print(f"{'':24} {'best':>14} {'median':>14} {'processor':>14}   s an epoch, ratio to plain")
    for way in ways:
        columns = (
            (min(wall[way]), min(wall["plain"])),
            *((statistics.median(times[way]), statistics.median(times["plain"])) for times in (wall, processor)),
        )
        print(f"{way:24}", *(f"{value * images:7.2f} {value / plain:6.3f}" for value, plain in columns))
    print(f"{'counting the classes':24} {count_seconds:7.2f} s once")


if __name__ == "__main__":
    main()
