"""What the blind extractor costs, and what the default detector finds with it.

For each seed: trains the reference classifier with the default recipe, trains an extractor, calibrates the detector to
1 % false positives on clean images that nothing was fitted on, and judges it on test images attacked with projected
gradient descent and Carlini-Wagner's attack. Undetected are those that fool the model and are not flagged, of all that
were attacked. Controls are what detectors for eight wrong keys flag of the same images, in the mean, and what the
key's detector flags on a model that was trained without a honeypot and attacked likewise. The extractor's cost beside
the classifier's is the processor's time of both on the same 64 images, in turns.

    python tests/bench/extractor.py digits --seeds 0 1 2
    python tests/bench/extractor.py mnist --epochs 2 --train-samples 20000
"""

import argparse
import statistics
import time

import numpy as np
import tensorflow as tf

import honeykeras as hk
from honeykeras.evaluation import correctly_classified

_WRONG_KEYS = 8


def processor_seconds(function):
    started = time.process_time()
    result = function()
    return result, time.process_time() - started


def cost_beside(extractor, model, x, rounds):
    """How much longer the extractor takes than the classifier: median of turns."""
    runs = [tf.function(lambda x, each=each: each(x, training=False)) for each in (extractor, model)]
    batch = tf.constant(x)
    ratios = []
    for _ in range(rounds + 1):
        first, second = (processor_seconds(lambda run=run: [run(batch) for _ in range(20)])[1] for run in runs)
        ratios.append(first / second)
    return statistics.median(ratios[1:])


def flagged(detectors, model, attack, attacked):
    """What each detector flags of the images that fool a model, shape `(detectors, fooling)`."""
    examples = attack.generate(model, attacked.x, attacked.y).quantize(model)
    if not examples.success.any():
        return np.zeros((len(detectors), 0), bool)
    return np.stack([detector.flag(examples.successful) for detector in detectors])


def judge(options, data, seed):
    """One row for each attack."""
    key = hk.WatermarkKey(bytes([seed + 1] * 32), data.input_shape, data.num_classes)
    epochs = options.epochs or hk.training.default_epochs(len(data.train))
    model, plain = (
        hk.training.fit_classifier(data, honeypot, epochs=epochs, seed=seed)[0] for honeypot in (hk.Honeypot(key), None)
    )
    extractor, seconds = processor_seconds(
        lambda: hk.detection.fit_extractor(data.train.x, key.pattern, seed=seed, **options.steps)
    )
    ratio = cost_beside(extractor, model, data.test.x[:64], options.rounds)

    def fitted(key, model):
        return hk.Detector(key).fit(model, extractor=extractor).calibrate(data.calibration.x, 0.01)

    detector, without = fitted(key, model), fitted(key, plain)
    wrong = [fitted(key.wrong_key(number), model) for number in range(_WRONG_KEYS)]
    false_positives = detector.flag(data.test.x).mean()
    attacked, attacked_plain = (correctly_classified(each, data.test, options.samples) for each in (model, plain))
    attacks = {
        "pgd": hk.attacks.PGD(data.epsilon, seed=seed),
        "cw": hk.attacks.CarliniWagner(max_iterations=300, seed=seed),
    }
    for name, attack in attacks.items():
        found, *by_wrong_keys = flagged([detector, *wrong], model, attack, attacked)
        on_plain = flagged([without], plain, attack, attacked_plain)
        undetected = (len(found) - found.sum()) / len(attacked)
        print(
            f"{seed:4} {name:6} {len(attacked):8} {len(found):8} {found.mean():9.1%} {undetected:10.1%} "
            f"{np.mean(by_wrong_keys):10.1%} {on_plain.mean():11.1%} {false_positives:7.1%} {seconds:9.1f} "
            f"{ratio:11.2f}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="what `honeykeras.data.load` reads, such as mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="how long to train; what the data set needs, unless told")
    parser.add_argument("--train-samples", type=int, help="how many images to train on; all, unless told")
    parser.add_argument("--steps", type=int, help="how long to train the extractor")
    parser.add_argument("--samples", type=int, default=300, help="how many images to attack")
    parser.add_argument("--rounds", type=int, default=5, help="how many turns to time")
    options = parser.parse_args()
    options.steps = {} if options.steps is None else {"steps": options.steps}
    print("seed attack attacked  fooling  detected undetected wrong keys no honeypot     FPR  training  extractor /")
    print(f"{'':87} (cpu, s)   classifier")
    for seed in options.seeds:
        data = hk.data.load(options.dataset, seed=seed)
        judge(options, data.reduced(options.train_samples) if options.train_samples else data, seed)


if __name__ == "__main__":
    main()
