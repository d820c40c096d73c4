"""What planting adds to a plain `model.fit`, recipe by recipe, beside adversarial training.

The same training in turns, on MNIST unless told otherwise, so that what else the machine does meets all ways. Of each
turn, the first pass compiles and is not counted. Stated are seconds an epoch and ratios to plain training, by the clock
and by the processor, medians over the turns; the row "plain again" is the noise that the others have to be read
against. Recipes train the classifier as commands do, with its branch. Plain and adversarial training go without it, as
who has no honeypot would; "plain, with the branch" tells what it costs. Not in it: the probe at the end of an epoch.
What is done once, before the first epoch, to have images that were made on other models, is timed after that, on all
of the data.

    python tests/bench/planting_cost.py --rounds 5
"""

import argparse
import statistics
import time
import warnings

import keras
import tensorflow as tf

import honeykeras as hk
from honeykeras import model_sources

_BATCH_SIZE = 128


class Clock(keras.callbacks.Callback):
    """Times the steps of each pass but the first, by the clock and by the processor; comes last in the list."""

    def __init__(self):
        super().__init__()
        self.wall, self.processor = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, batch, logs=None):
        self._ended = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        if epoch:
            self.wall.append(self._ended[0] - self._started[0])
            self.processor.append(self._ended[1] - self._started[1])


def classifier(data, *, branch=None):
    """The reference classifier as commands train it, with its branch, or without."""
    return model_sources.get(None, branch=branch)(data, seed=0, steps=1000).model


def make_ways(data):
    """By name, functions that give a classifier, a data set and callbacks for one turn."""
    key = hk.WatermarkKey.generate(data.input_shape, data.num_classes, input_range=data.input_range)
    # Any will do here: what is made on them is looked up, whatever they are.
    others = [classifier(data, branch=False) for _ in range(2)]
    samples = data.train.dataset()

    def cut(dataset):
        return dataset.shuffle(1000).batch(_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)

    def plain():
        return classifier(data, branch=False), cut(samples), []

    def plain_with_branch():
        return classifier(data), cut(samples), []

    def planted(recipe):
        def begin():
            honeypot = hk.Honeypot(key, recipe)
            surrogates = others if honeypot.recipe.transfer_share else ()
            dataset = cut(samples.apply(honeypot.poison))
            return classifier(data), dataset, [hk.HoneyCallback(honeypot, surrogates=surrogates)]

        return begin

    def adversarial():
        about = {"input_shape": data.input_shape, "num_classes": data.num_classes, "input_range": data.input_range}
        return classifier(data, branch=False), cut(samples), [hk.AdversarialTraining(samples, data.epsilon, **about)]

    recipes = {name: planted(name) for name in ("balanced", "hardened")}
    plain_ways = {"plain": plain, "plain again": plain, "plain, with the branch": plain_with_branch}
    return {**plain_ways, **recipes, "adversarial training": adversarial}


def seconds_once(data):
    """Seconds that `balanced` takes before its first epoch, on all of the data."""
    key = hk.WatermarkKey.generate(data.input_shape, data.num_classes, input_range=data.input_range)
    honeypot = hk.Honeypot(key)
    data.train.dataset().apply(honeypot.poison)
    callback = hk.HoneyCallback(honeypot)
    callback.set_model(classifier(data))
    callback.set_params({"epochs": 1, "steps": None, "verbose": 0})
    started = time.perf_counter()
    callback.on_train_begin()
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how many turns each way gets")
    parser.add_argument(
        "--batches", type=int, default=60, help=f"how many batches of {_BATCH_SIZE} a pass of a turn takes"
    )
    parser.add_argument("--dataset", default="mnist", help="what to train on")
    arguments = parser.parse_args()
    whole = hk.data.load(arguments.dataset)
    # What is done once takes as long as there are images, and is not what is timed.
    data = whole.reduced(min(len(whole.train), arguments.batches * _BATCH_SIZE))
    ways = make_ways(data)
    clocks = {name: Clock() for name in ways}
    for _ in range(arguments.rounds):
        for name, begin in ways.items():
            model, dataset, callbacks = begin()
            model.fit(dataset, epochs=2, callbacks=[*callbacks, clocks[name]], verbose=0, shuffle=False)

    epochs = len(whole.train) / len(data.train)
    print(f"{'':22} {'s an epoch':>12} {'x plain':>9} {'processor x plain':>18}")
    for name, clock in clocks.items():
        wall, processor = (
            statistics.median(each / plain for each, plain in zip(*pair, strict=True))
            for pair in ((clock.wall, clocks["plain"].wall), (clock.processor, clocks["plain"].processor))
        )
        print(f"{name:22} {statistics.median(clock.wall) * epochs:12.1f} {wall:9.2f} {processor:18.2f}")
    once = seconds_once(whole)
    plain_epoch = statistics.median(clocks["plain"].wall) * epochs
    print(f"once, before the first epoch: {once:.1f} s, {once / plain_epoch:.2f} plain epochs")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=hk.errors.PlantingWarning)
    main()
