"""What an artifact tells its operator for ledgers: as Python's observer sees it, through both loaders."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import detectorfile, evidence, export
from honeykeras.errors import InvalidArgumentError
from honeykeras.export import leaks

NAME = "extended_evidence"


@pytest.fixture(scope="module")
def observer(detector, digits):
    return evidence.Observer(detector, digits.calibration.x)


@pytest.fixture(scope="module")
def told(classifier, detector, observer, sealing_key, tmp_path_factory):
    """An artifact that tells what evidence is made of, with its key."""
    root = tmp_path_factory.mktemp("told")
    sealing_key.save(root / "model.key")
    return export.save_guarded(
        classifier, root / "serving" / "digits", detector, sealing_key, policy="decoy", observer=observer
    )


@pytest.fixture(scope="module")
def signatures(told):
    loaded = tf.saved_model.load(str(told))
    yield loaded.signatures
    del loaded


def answers(signatures, x):
    return {name: value.numpy() for name, value in signatures[NAME](inputs=tf.constant(x)).items()}


def marked(key, classifier, x):
    """Inputs with the pattern of the class that the classifier then sees."""
    watermark = hk.Watermark(key)
    for _ in range(3):
        predicted = classifier.predict(x, verbose=0).argmax(axis=1)
        x = watermark.apply(x, 0.15, predicted).numpy()
    return x


def assert_alike(seen, expected):
    for field in dataclasses.fields(seen):
        one, other = (np.asarray(getattr(each, field.name), np.float64) for each in (seen, expected))
        assert np.allclose(one, other, rtol=0, atol=2e-3 * max(1, np.abs(other).max())), field.name


def test_is_what_the_observer_sees(signatures, observer, digits):
    seen = evidence.Observations.of_answers(answers(signatures, digits.test.x))
    expected = observer.observe(digits.test.x)
    assert np.array_equal(seen.classes, expected.classes)
    assert_alike(seen, expected)
    for field in dataclasses.fields(seen):
        assert getattr(seen, field.name).dtype == getattr(expected, field.name).dtype


def test_through_the_loader_of_tensorflow_serving(server, told, signatures, digits):
    x = digits.test.x[:20]
    (found,) = server.ask([told], [(0, NAME, x)])
    expected = answers(signatures, x)
    assert set(found) == set(expected)
    assert_alike(evidence.Observations.of_answers(found), evidence.Observations.of_answers(expected))
    for name in ("probabilities", "score", "evidence_nearness", "evidence_margin"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5)


def test_feeds_a_ledger_without_the_key(signatures, observer, watermark_key, classifier, digits):
    honest, attacker = digits.test.x, marked(watermark_key, classifier, digits.test.x[:100])
    told = answers(signatures, honest)
    rules = evidence.Rules.of_answers(told, alpha=1e-3)
    assert dataclasses.astuple(rules) == pytest.approx(dataclasses.astuple(observer.rules), rel=1e-6)
    assert not evidence.Ledger(rules).update(evidence.Observations.of_answers(told)).accused
    accused = evidence.Ledger(rules).update(evidence.Observations.of_answers(answers(signatures, attacker)))
    expected = observer.ledger(alpha=1e-3).update(observer.observe(attacker))
    assert accused.accused_at == expected.accused_at
    assert accused.accused_at <= 20


def test_beside_it_is_what_extended_tells(signatures, digits):
    found = answers(signatures, digits.test.x)
    expected = signatures["extended"](inputs=tf.constant(digits.test.x))
    for name in ("probabilities", "score", "flag"):
        assert np.array_equal(found[name], expected[name].numpy())


def test_twins_of_all_signatures_tell_it(signatures, digits):
    """Whichever signature a client asks, its twin tells what it gives, the verdict, and what evidence is made of."""
    x = digits.test.x[:6]
    expected = evidence.Observations.of_answers(answers(signatures, x))
    floats = tf.train.Feature
    serialized = [
        tf.train.Example(
            features=tf.train.Features(feature={"inputs": floats(float_list=tf.train.FloatList(value=each.ravel()))})
        ).SerializeToString()
        for each in x
    ]
    told = signatures["extended_evidence_classify"](inputs=tf.constant(serialized))
    assert set(signatures["extended_classify"].structured_outputs) < set(told)
    assert_alike(evidence.Observations.of_answers(told), expected)
    pixels = np.round(x * 255).astype(np.uint8)
    png = [tf.io.encode_png(each).numpy() for each in pixels]
    told = signatures["extended_evidence_predict_images"](image_bytes=tf.constant(png))
    rounded = answers(signatures, (pixels / 255).astype(np.float32))
    assert_alike(evidence.Observations.of_answers(told), evidence.Observations.of_answers(rounded))
    np.testing.assert_allclose(told["score"], rounded["score"], atol=1e-5)


def test_what_is_not_finite_leaves_no_trace(signatures, digits):
    x = digits.test.x[:3].copy()
    x[1] = np.nan
    found = answers(signatures, x)
    assert all(np.isfinite(found[f"evidence_{name}"]).all() for name in ("views", "projections", "readings"))


def test_without_an_observer_there_is_no_such_signature(keyed):
    assert NAME not in tf.saved_model.load(str(keyed)).signatures


def test_what_it_looks_with_is_sealed(told, detector, observer, sealing_key):
    needles = {**leaks.needles(detector, sealing_key), **leaks.of_values("centres", observer.sight.centres)}
    leaks.check(told, needles)


def test_a_threshold_of_other_data_leaves_the_rest_as_it_is(told, classifier, detector, digits, sealing_key, tmp_path):
    shutil.copytree(told.parent, tmp_path / "serving" / "digits")
    sealing_key.save(tmp_path / "model.key")
    other = hk.Detector(detector.watermark).fit(classifier, extractor=detector.extractor)
    other.calibrate(np.rot90(digits.calibration.x, axes=(1, 2)), 0.2).save(tmp_path / "other.hk")
    again = export.recalibrate(
        tmp_path / "serving" / "digits" / "1", detectorfile.read(tmp_path / "other.hk"), sealing_key, unsigned=True
    )
    before, after = (
        {name: each.numpy() for name, each in tf.saved_model.load(str(folder)).signatures[NAME](inputs=x).items()}
        for folder in (told, again)
        for x in [tf.constant(digits.test.x)]
    )
    assert np.array_equal(after["flag"], other.flag(digits.test.x))
    for name in ("views", "projections", "codes", "nearness", "margin"):
        assert np.array_equal(before[f"evidence_{name}"], after[f"evidence_{name}"])


def test_must_be_the_detectors(classifier, detector, digits, sealing_key, tmp_path):
    other = hk.Detector(detector.watermark).fit(classifier, extractor=detector.extractor)
    other.calibrate(digits.calibration.x, 0.1)
    for observer in (evidence.Observer(other, digits.calibration.x[:200]), "no observer"):
        with pytest.raises(InvalidArgumentError, match="`observer` must be the observer of the detector"):
            export.save_guarded(classifier, tmp_path / "m", detector, sealing_key, observer=observer)
    assert not (tmp_path / "m").exists()


def test_no_signature_of_a_users_may_take_its_place(classifier, detector, observer, sealing_key, tmp_path):
    def own(classify):
        signature = [tf.TensorSpec([None, 8, 8, 1], tf.float32, name="inputs")]
        function = tf.function(lambda inputs: {"scores": classify(inputs)}, input_signature=signature)
        return {"serving_default": function, "evidence": function}

    with pytest.raises(InvalidArgumentError, match="No signature may be called `evidence`"):
        export.save_guarded(classifier, tmp_path / "m", detector, sealing_key, own_signatures=own, observer=observer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.pop("evidence_views"), "with `evidence_views` of 2 axes. Received: outputs"),
        (
            lambda told: told.update(evidence_codes=told["evidence_codes"][0]),
            r"with `evidence_codes` of 2 axes. Received: shape \(64,\)",
        ),
        (
            lambda told: told.update(evidence_projections=told["evidence_projections"][:1]),
            r"with `evidence_projections` of 1 axis",
        ),
    ],
)
def test_other_answers_are_refused(signatures, digits, change, message):
    told = answers(signatures, digits.test.x[:3])
    change(told)
    with pytest.raises(InvalidArgumentError, match=message):
        evidence.Observations.of_answers(told)
