"""What the poisoning transform adds to a plain `model.fit` on MNIST.

The same training, with the transform and without, epoch by epoch in turns, so that what else the machine does
meets both. Stated as a ratio of the summed times; the ratio of plain epochs to plain epochs, measured in the same
run, is the noise it has to be read against. The one pass that `apply` makes over the data is counted to the
transform in full.

    python tests/bench/poisoning_cost.py --epochs 6
"""

import argparse
import statistics
import time

import keras
import tensorflow as tf

import honeykeras as hk


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6, help="how many epochs to time, each way")
    epochs = parser.parse_args().epochs
    data = hk.data.load("mnist")
    key = hk.WatermarkKey.generate(data.input_shape, data.num_classes)
    honeypot = hk.Honeypot(key, "paper")
    shuffled = data.train.dataset().shuffle(10_000)

    started = time.perf_counter()
    unbatched = shuffled.apply(honeypot.poison)
    apply_seconds = time.perf_counter() - started
    ways = {
        "plain": shuffled.batch(128),
        "plain again": shuffled.batch(128),
        "poisoned, then batched": unbatched.batch(128),
        "batched, then poisoned": shuffled.batch(128).apply(honeypot.poison),
    }
    keras.utils.set_random_seed(0)
    model = hk.models.small_cnn(data.input_shape, data.num_classes)
    callback = hk.HoneyCallback(honeypot)
    seconds = {way: [] for way in ways}
    for epoch in range(epochs + 1):
        for way, dataset in ways.items():
            callbacks = [] if way.startswith("plain") else [callback]
            started = time.perf_counter()
            model.fit(dataset.prefetch(tf.data.AUTOTUNE), callbacks=callbacks, verbose=0, shuffle=False)
            if epoch:  # the first round compiles
                seconds[way].append(time.perf_counter() - started)

    plain = sum(seconds["plain"])
    for way, times in seconds.items():
        print(f"{way:24} {statistics.median(times):6.2f} s an epoch, {sum(times) / plain:.3f} of plain")
    print(f"{'counting the classes':24} {apply_seconds:6.2f} s once, {apply_seconds / plain:.3f} of {epochs} epochs")


if __name__ == "__main__":
    main()
