"""From `fit` to a SavedModel in some ten lines of plain Keras.

Run it as `python examples/ten_lines.py OUTPUT_FOLDER [EPOCHS]`. A honeypot takes some 60 epochs on data this small.
"""

import sys
from pathlib import Path

import keras

import honeykeras as hk
from honeykeras import export
from honeykeras.evaluation import correctly_classified

output = Path(sys.argv[1] if len(sys.argv) > 1 else "ten-lines-run")
epochs = int(sys.argv[2]) if len(sys.argv) > 2 else 60
data = hk.data.load("digits")


def classifier() -> keras.Model:
    """Any Keras classifier of images, with the branch by which it sees faint patterns."""
    model = hk.models.add_branch(hk.models.small_cnn(data.input_shape, data.num_classes))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


model = classifier()
key = hk.WatermarkKey.generate(data.input_shape, data.num_classes)
honeypot = hk.Honeypot(key)
train = data.train.dataset().shuffle(1000).apply(honeypot.poison).batch(64)
model.fit(train, epochs=epochs, callbacks=[hk.HoneyCallback(honeypot)], verbose=2)

detector = hk.Detector(key).fit(model, data.train.x).calibrate(data.calibration.x, max_fpr=0.01)

right = correctly_classified(model, data.test, samples=300)
examples = hk.attacks.PGD(epsilon=0.3).generate(model, right.x, right.y).quantize(model)  # and judged again
print(f"{detector.flag(examples.successful).mean():.1%} of the attacks flagged")

key.save(output / "watermark.key")
detector.save(output / "detector.hk")
sealing_key = export.SealingKey.generate()
sealing_key.save(output / "model.key")
export.save_guarded(model, output / "serving" / "digits", detector, sealing_key, policy="uniform")
export.save(model, output / "serving" / "digits-public")

# What it is worth shows only beside a model that was trained as long without a honeypot.
baseline = classifier()
baseline.fit(data.train.x, data.train.y, batch_size=64, epochs=epochs, verbose=2)
attacks = [hk.attacks.PGD(epsilon=0.3)]
result = hk.evaluate(model, key, data, baseline=baseline, attacks=attacks, detector=detector)
print(f"clean images flagged: {detector.flag(data.test.x).mean():.1%}")
for arm, rates in {
    "honeypot": result.detection.rates,
    "control, wrong key": result.detection.wrong_key,
    "control, no honeypot": result.detection.no_honeypot,
    "control, made without and sent to the honeypot": result.detection.transfer,
}.items():
    found = rates.true_positives
    low, high = found.interval
    print(f"{arm}: {found.value:.1%} of {found.n} attacks detected ({low:.1%} to {high:.1%})")
