"""What is handed to the library in Python: of another type or form, it is told in one sentence, at once."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import _arrays, _checks, attacks, corruptions, detection, evaluation, export, provenance
from honeykeras.errors import InvalidArgumentError, ModelError

KEY = hk.WatermarkKey(bytes(range(32)), (8, 8, 1), 10)
SCATTERED = hk.WatermarkKey(bytes(range(32)), (8, 8, 1), 10, pattern=hk.patterns.Scattered())
PGD = hk.attacks.PGD(0.3, steps=2)
RAGGED = [[[[0.5]], [[0.5], [0.25]]]]
STRANGERS = [None, 3, "key", b"a secret that is in the wrong place", [1, 2], object()]


@pytest.fixture(scope="module")
def model():
    return hk.models.small_cnn((8, 8, 1), 10)


@pytest.fixture(scope="module")
def seven_classes():
    return hk.models.small_cnn((8, 8, 1), 7)


def refused(action, error=InvalidArgumentError):
    with pytest.raises(error) as raised:
        action()
    message = str(raised.value)
    assert "Received: " in message
    assert message.isprintable()
    assert len(message) < 500
    return message


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda value: type(value).__name__)
class TestOtherTypes:
    @pytest.mark.parametrize("door", [hk.Honeypot, hk.Watermark, *detection.KINDS.values()], ids=lambda it: it.__name__)
    def test_key(self, door, stranger):
        message = refused(lambda: door(stranger))
        assert message == f"`key` must be a WatermarkKey. Received: one of the type {type(stranger).__name__}."

    def test_key_of_a_data_set(self, digits, stranger):
        assert "`key` must be a WatermarkKey" in refused(lambda: digits.check_key(stranger))

    def test_data_set_to_poison(self, stranger):
        honeypot = hk.Honeypot(KEY)
        assert "`dataset` must be a tf.data.Dataset" in refused(lambda: honeypot.poison(stranger))
        assert honeypot.planting is None

    def test_data_set_to_attack(self, model, tmp_path, stranger):
        assert "`dataset` must be a tf.data.Dataset" in refused(lambda: attacks.craft(model, PGD, stranger, tmp_path))

    def test_attack(self, model, digits, tmp_path, stranger):
        images = digits.test.dataset()
        assert "`attack` must be an Attack" in refused(lambda: attacks.craft(model, stranger, images, tmp_path))

    @pytest.mark.parametrize("wrap", [lambda it: it, lambda it: [it]], ids=["alone", "in a list"])
    def test_attacks(self, model, digits, stranger, wrap):
        judge = {"baseline": model, "attacks": wrap(stranger), "max_fpr": 0.05}
        assert "`attacks` must be a list of attacks" in refused(lambda: hk.evaluate(model, KEY, digits, **judge))

    def test_honeypot(self, digits, stranger):
        assert "`honeypot` must be a Honeypot" in refused(lambda: hk.HoneyCallback(stranger))
        assert "`honeypot` must be a Honeypot" in refused(lambda: hk.training.train(digits, stranger, epochs=1))

    def test_data(self, model, stranger):
        for judge in (
            lambda: hk.evaluate(model, KEY, stranger, baseline=model, attacks=[PGD]),
            lambda: evaluation.fit_detector(model, KEY, stranger),
            lambda: hk.training.train(stranger, hk.Honeypot(KEY), epochs=1),
            lambda: hk.sweep.run(stranger, [], "unused", master=bytes(32), attacks=[PGD], epochs=1),
        ):
            assert "`data` must be a Data" in refused(judge)

    def test_detector(self, model, tmp_path, stranger):
        sealing_key = export.SealingKey.generate()
        message = refused(lambda: export.save_guarded(model, tmp_path / "m", stranger, sealing_key))
        assert "`detector` must be a detector" in message
        assert not (tmp_path / "m").exists()

    def test_model(self, digits, stranger):
        for use in (
            lambda: PGD.generate(stranger, digits.test.x[:2]),
            lambda: hk.evaluate(stranger, KEY, digits, baseline=stranger, attacks=[PGD]),
            lambda: evaluation.fit_detector(stranger, KEY, digits),
            lambda: hk.Detector(KEY).fit(stranger, digits.train.x),
        ):
            assert "The model must be a classifier of inputs of shape (8, 8, 1)" in refused(use, ModelError)

    def test_probe(self, stranger):
        if stranger is not None:  # Which asks for none.
            assert "`probe` must hold at least one sample" in refused(
                lambda: hk.HoneyCallback(hk.Honeypot(KEY), probe=stranger)
            )


def uses_of_inputs(model, digits, x):
    watermark = hk.Watermark(KEY)
    fitted = detection.PaperDetector(SCATTERED).fit(
        model, detection.Samples(digits.train.x[:9], adversarial=digits.test.x[:9])
    )
    return {
        "generate": lambda: PGD.generate(model, x),
        "quantize": lambda: attacks.quantize(x),
        "corrupt": lambda: corruptions.corrupt(x, "blur"),
        "fit": lambda: hk.Detector(KEY).fit(model, x),
        "calibrate": lambda: fitted.calibrate(x, 0.1),
        "score": lambda: fitted.score(x),
        "extractor": lambda: detection.fit_extractor(x, KEY.pattern),
        "apply": lambda: watermark.apply(x, 0.1, [1]),
        "extract": lambda: watermark.extract(x),
        "cosine_similarity": lambda: watermark.cosine_similarity(x, [1]),
        "probe": lambda: hk.HoneyCallback(hk.Honeypot(KEY), probe=(x, [1])),
    }


@pytest.mark.parametrize(
    "name",
    [
        "generate",
        "quantize",
        "corrupt",
        "fit",
        "calibrate",
        "score",
        "extractor",
        "apply",
        "extract",
        "cosine_similarity",
        "probe",
    ],
)
@pytest.mark.parametrize(
    "x", [RAGGED, None, {"x": 1}, [object()], ["a"]], ids=["ragged", "none", "dict", "object", "text"]
)
def test_inputs(name, x, model, digits):
    message = refused(uses_of_inputs(model, digits, x)[name])
    assert re.search(
        r"`(x|clean|delta|probe|name)` must be|must have shape|must be floating point|`fit` must be given", message
    )


@pytest.mark.parametrize("x", [np.zeros((3, 0)), np.zeros((0, 8, 8, 1)), np.zeros((2, 8, 8, 0))])
def test_no_inputs(x, model):
    assert "must hold at least one sample, and one value" in refused(lambda: PGD.generate(model, x))


@pytest.mark.parametrize(
    ("y", "received"),
    [
        ([[1], [2, 3]], "`y` must be an array, or lists that are of one length at each level."),
        ({1: 2}, "`y` must be an array"),
        ([object(), object()], "`y` must be an array"),
        (["a", "b"], "`y` must hold class indices or one-hot rows. Received: dtype=<U1."),
        ([["a", "b"], ["c", "d"]], "`y` must hold class indices or one-hot rows. Received: dtype=<U1."),
        ([1j, 2], "`y` must hold class indices or one-hot rows. Received: dtype=complex128."),
        ([0.5, 1], "`y` must hold class indices or one-hot rows. Received: dtype=float64."),
        ([np.nan, 1], "`y` must hold class indices or one-hot rows"),
        ([1, 10], "`y` must lie in [0, 10)"),
        ([1], "`y` must hold one label for each of the 2 samples"),
    ],
)
def test_labels(y, received, model, digits):
    assert received in refused(lambda: PGD.generate(model, digits.test.x[:2], y))


@pytest.mark.parametrize("mask", [[[True], [True, False]], {"a": 1}, "mask", [1, 0]])
def test_mask(mask, model, digits):
    assert "`mask` must be" in refused(lambda: PGD.generate(model, digits.test.x[:2], mask=mask))


def test_a_value_is_shown_shortly():
    ragged = [[0] * count for count in range(10_000)]
    assert len(refused(lambda: _checks.array("x", ragged))) < 250


def test_symbolic_inputs(model):
    assert "`x` must be an array" in refused(lambda: PGD.generate(model, keras.Input((8, 8, 1))))


class TestOtherClasses:
    """A model of seven classes, where the key is for ten: told before any work, and not by an operation amid it."""

    @pytest.fixture(scope="class")
    @staticmethod
    def work():
        """Sees to it that no extractor is trained and nothing is attacked."""
        with pytest.MonkeyPatch.context() as patch:
            for place in (
                "detection.detector.fit_extractor",
                "attacks.PGD.generate",
            ):
                patch.setattr(f"honeykeras.{place}", lambda *args, **kwargs: pytest.fail("work was done"))
            yield

    @pytest.mark.parametrize("kind", list(detection.KINDS))
    def test_detectors(self, kind, seven_classes, digits, work):
        detector = detection.KINDS[kind](SCATTERED if kind == "paper" else KEY)
        images = digits.train.x[:20]
        samples = detection.Samples(images, adversarial=images)
        message = refused(lambda: detector.fit(seven_classes, samples), ModelError)
        assert "The model must have one output of shape (batch, 10)" in message
        assert "Received: (1, 7), float32." in message

    def test_evaluate(self, model, seven_classes, digits, work):
        for models in ((seven_classes, model, None), (model, seven_classes, None), (model, model, seven_classes)):
            judged, baseline, yardstick = models
            arguments = {"baseline": baseline, "yardstick": yardstick, "attacks": [PGD], "max_fpr": 0.05}
            message = refused(
                lambda judged=judged, given=arguments: hk.evaluate(judged, KEY, digits, **given), ModelError
            )
            assert "shape (batch, 10)" in message

    def test_fit_detector(self, seven_classes, digits, work):
        message = refused(lambda: evaluation.fit_detector(seven_classes, KEY, digits, max_fpr=0.05), ModelError)
        assert "shape (batch, 10)" in message

    def test_export(self, model, seven_classes, digits, tmp_path):
        """The detector is for another model, that has all classes."""
        detector = detection.PaperDetector(SCATTERED)
        detector.fit(model, detection.Samples(digits.train.x[:50], adversarial=digits.train.x[50:100]))
        detector.calibrate(digits.calibration.x, 0.1)
        sealing_key = export.SealingKey.generate()
        message = refused(lambda: export.save_guarded(seven_classes, tmp_path / "m", detector, sealing_key))
        assert "The detector must have been fitted for the model that it is used with" in message
        assert not (tmp_path / "m").exists()

    def test_training(self, seven_classes):
        dataset = tf.data.Dataset.from_tensor_slices((np.zeros((20, 8, 8, 1), np.float32), np.arange(20) % 10)).batch(5)
        seven_classes.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callback = hk.HoneyCallback(hk.Honeypot(SCATTERED, "paper"))
        message = refused(lambda: seven_classes.fit(dataset, callbacks=[callback], verbose=0), ModelError)
        assert "shape (batch, 10)" in message


NO_PATHS = [None, 3, 1.5, True, [], {}, object(), "a\0b"]


@pytest.mark.parametrize("path", NO_PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize(
    "door",
    [
        hk.models.load,
        attacks.Shards.open,
        hk.report.read,
        hk.WatermarkKey.load,
        export.SealingKey.load,
        export.inspect,
        lambda path: list(export.verify(path)),
        export.load,
        lambda path: export.reseal(path, export.SealingKey.generate(), export.SealingKey.generate()),
        lambda path: export.save(hk.models.small_cnn((8, 8, 1), 3), path),
        lambda path: hk.models.save(hk.models.small_cnn((8, 8, 1), 3), path),
        lambda path: attacks.craft(None, PGD, None, path),
        lambda path: hk.report.write_model_card(path, {}),
        _arrays.read_mask,
        provenance.read,
    ],
)
def test_paths(door, path):
    """A number would be taken for an open file, such as the standard output, and read and closed."""
    assert "A path must be a `str` or a `Path`" in refused(lambda: door(path))


@pytest.mark.parametrize(
    ("use", "received"),
    [
        (lambda: hk.data.load(["digits"]), "`dataset` must be digits"),
        (lambda: hk.data.load("m" * 1000), "`dataset` must be digits"),
        (lambda: hk.data.load("digits", image_size=(8,)), "`image_size` must be (height, width)"),
        (lambda: hk.data.load("digits", input_range=(1, 0)), "`input_range` must be"),
        (lambda: attacks.get({}), "`attack` must be one of"),
        (lambda: hk.models.small_cnn(None, 10), "`input_shape` must be"),
        (lambda: hk.models.small_cnn((28, 28), 10), "`input_shape` must be (height, width, channels)"),
        (lambda: hk.models.small_cnn((3, 28, 1), 10), "at least 4 by 4"),
        (lambda: hk.models.small_cnn((8, 8, 1), "10"), "`num_classes` must be a whole number"),
        (lambda: hk.models.small_cnn((8, 8, 1), 1), "`num_classes` must be a whole number"),
        (lambda: hk.models.small_dense(None, 10), "`input_shape` must be"),
        (lambda: hk.models.small_dense((12,), 1), "`num_classes` must be a whole number"),
        (lambda: hk.models.save("model", "model.keras"), "`model` must be a Keras model"),
        (lambda: hk.Watermark(KEY).patterns([1.5]), "`target` must hold class indices"),
        (lambda: hk.Watermark(KEY).patterns(3), "`target` must hold class indices"),
        (lambda: hk.Watermark(KEY).patterns([[1], [2, 3]]), "`target` must be an array"),
        (lambda: hk.Watermark(KEY).codes(tf.constant(["a"])), "`target` must hold class indices"),
        (lambda: hk.Watermark(KEY).apply(np.zeros((1, 8, 8, 1)), None, [1]), "`amplitude` must be"),
        (lambda: hk.Watermark(KEY).apply(np.zeros((1, 8, 8, 1)), "1", [1]), "`amplitude` must be a number"),
        (lambda: hk.Watermark(KEY).apply(np.zeros((1, 8, 8, 1)), [[1.0]], [1]), "`amplitude` must be a number"),
        (lambda: corruptions.corrupt(np.zeros((1, 8, 8, 1)), "blur", seed=None), "`seed` must be a whole number"),
        (lambda: detection.conformal_threshold(None, 0.1), "`scores` must be an array"),
        (lambda: detection.conformal_threshold(["a"] * 99, 0.1), "`scores` must be numbers"),
        (lambda: detection.conformal_threshold(np.zeros((99, 2)), 0.1), "`scores` must be numbers of shape (n,)"),
    ],
)
def test_arguments(use, received):
    assert received in refused(use)


def test_extractor(model):
    assert "`extractor` must be a model" in refused(lambda: hk.Detector(KEY).fit(model, extractor="none"))


def test_split(model, digits):
    assert "`split` must be a part of a data set" in refused(
        lambda: evaluation.correctly_classified(model, digits.test.x, 3)
    )


@pytest.mark.parametrize("names", [3, ["a"], [""] * 10, [1] * 10])
def test_class_names(names, model, tmp_path):
    assert "`class_names` must be 10 names" in refused(lambda: export.save(model, tmp_path / "m", class_names=names))
