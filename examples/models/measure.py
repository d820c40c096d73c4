"""Plants a honeypot in networks of the kinds that people serve, and leaves a record of each.

    python examples/models/measure.py resnet20 mobilenet --output examples/models/record
    python examples/models/measure.py --output examples/models/record

Each network is trained without a honeypot and with one, from the same weights, on 10,000 images or what there are, and
judged as `honeykeras.evaluate` does. What is there already is not done again. `table.py` makes a table of the records.
"""

import argparse
import dataclasses
import hashlib
import tempfile
import time
from pathlib import Path

import keras

import honeykeras as hk
from honeykeras import _sources, attacks, data, model_sources, provenance, report, training

_HERE = Path(__file__).parent
_MOST_IMAGES = 10_000


@dataclasses.dataclass(frozen=True)
class Case:
    """A network, and what it is trained on.

    Attributes:
        network: What it is called in the table.
        model: Function of `networks.py`; of a network that is fine-tuned, that of the one it was trained as.
        dataset: What `data.load` reads; a function of `datasets.py` after a colon.
        epochs: How many epochs.
        augment: Whether images are shifted and flipped in the pipeline.
        branch: Whether the network gets a branch; None where inputs are images.
        image_size: What images are resized to.
        fine_tuned: Whether it is trained without a honeypot before.
        max_fpr: What the detector is calibrated to.
    """

    network: str
    model: str
    dataset: str = "cifar10"
    epochs: int = 3
    augment: bool = False
    branch: bool | None = None
    image_size: tuple[int, int] | None = None
    fine_tuned: bool = False
    max_fpr: float = 0.01


CASES = {
    "resnet20": Case("ResNet-20, augmented in the pipeline", "resnet20", augment=True),
    "resnet20-no-branch": Case("ResNet-20, without a branch", "resnet20", augment=True, branch=False),
    "mobilenet": Case("MobileNetV3Small, augmented by layers", "mobilenet"),
    "mobilenet-plain": Case("MobileNetV3Small", "mobilenet_plain"),
    "transformer": Case("vision transformer", "transformer"),
    "fine-tuned": Case("small CNN, fine-tuned", "small_cnn", fine_tuned=True),
    "large": Case("ResNet-8, 96 x 96", "resnet8_large", image_size=(96, 96)),
    "glyphs": Case("small CNN, 100 classes", "small_cnn", ":glyphs", epochs=12),
    "table": Case("perceptron, a table", "perceptron", ":cancer", epochs=120, max_fpr=0.05),
}


def load(case: Case, images: int) -> data.Data:
    """The data set, with no more training images than asked for."""
    source = f"{_HERE / 'datasets.py'}{case.dataset}" if case.dataset.startswith(":") else case.dataset
    parts = data.load(source, image_size=case.image_size)
    return parts.reduced(min(images, len(parts.train)))


def builder(case: Case, parts: data.Data, folder: Path) -> model_sources.Builder:
    """What makes the network; one that is to be fine-tuned is trained here."""
    build = model_sources.get(f"{_HERE / 'networks.py'}:{case.model}", branch=case.branch)
    if not case.fine_tuned:
        return build
    plain = model_sources.get(f"{_HERE / 'networks.py'}:{case.model}", branch=False)
    model, _ = training.fit_classifier(parts, None, epochs=case.epochs, build=plain, verbose=2)
    path = folder / "trained.keras"
    hk.models.save(model, path)
    return model_sources.get(str(path), branch=case.branch)


def train(case: Case, parts: data.Data, epochs: int) -> tuple[dict[str, keras.Model], hk.WatermarkKey, dict]:
    """Trains without and with a honeypot; returns the models, the key and how it went."""
    # Of bytes that anyone can repeat, and that so keep no secret: for measurements alone.
    master = hashlib.sha256(b"honeykeras example 0").digest()
    pattern = hk.patterns.Blocks.for_inputs(parts.input_shape)
    key = hk.WatermarkKey(master, parts.input_shape, parts.num_classes, pattern=pattern)
    honeypot = hk.Honeypot(key)
    augment = _sources.load_function(f"{_HERE / 'networks.py'}:shifted", "augment") if case.augment else None
    models, seconds, history = {}, {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        build = builder(case, parts, Path(scratch))
        for name, planted in (("plain", None), ("honeypot", honeypot)):
            begin = time.monotonic()
            models[name], history[name] = training.fit_classifier(
                parts, planted, epochs=epochs, build=build, augment=augment, verbose=2
            )
            seconds[name] = round((time.monotonic() - begin) / epochs, 1)
    settings = {
        **provenance.settings_of(parts, honeypot, epochs=epochs, seed=0),
        "dataset": case.dataset.removeprefix(":"),
        "network": case.network,
        "images": len(parts.train),
        "input_shape": parts.input_shape,
        "parameters": models["honeypot"].count_params(),
        "branch": hk.models.has_branch(models["honeypot"]),
        "seconds_an_epoch": seconds,
        "probed": {name: values[-1] for name, values in history["honeypot"].items() if "similarity" in name},
    }
    return models, key, settings


def measure(case: Case, *, images: int, epochs: int | None, samples: int) -> dict:
    """Trains, attacks and judges; returns the report."""
    parts = load(case, images)
    models, key, settings = train(case, parts, epochs or case.epochs)
    used = [
        attacks.PGD(parts.epsilon),
        attacks.CarliniWagner(
            binary_search_steps=3, max_iterations=60, learning_rate=0.1, initial_const=1.0, abort_early=False
        ),
    ]
    found = hk.evaluate(
        models["honeypot"],
        key,
        parts,
        baseline=models["plain"],
        attacks=used,
        samples=samples,
        max_fpr=case.max_fpr,
    )
    judged = {"samples": samples, "attacks": {attack.name: attack.get_config() for attack in used}}
    return report.make(found, {**settings, **judged})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=list(CASES), help="which networks")
    parser.add_argument("--images", type=int, default=_MOST_IMAGES, help="training images, at most")
    parser.add_argument("--epochs", type=int, help="epochs, instead of what the network needs")
    parser.add_argument("--samples", type=int, default=100, help="images that each attack is run on")
    parser.add_argument("--output", type=Path, required=True, help="folder for the records")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.cases:
        path = options.output / f"{name}.json"
        if not path.exists():
            print(f"{name}: {CASES[name].network}", flush=True)
            document = measure(CASES[name], images=options.images, epochs=options.epochs, samples=options.samples)
            report.write(path, document)


if __name__ == "__main__":
    main()
