"""Artifacts with signatures of the user's: clients that were written against the unguarded model go on."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import honeykeras as hk
from honeykeras import export
from honeykeras.errors import InvalidArgumentError

KEPT = []


def ask(version, signature, **inputs):
    loaded = tf.saved_model.load(str(version))
    # Its functions do not keep its resources alive.
    KEPT.append(loaded)
    answers = loaded.signatures[signature](**{name: tf.constant(values) for name, values in inputs.items()})
    return {name: values.numpy() for name, values in answers.items()}


def listed(version, *, operator=False):
    """What clients see of a signature: names, types and shapes; of the operator's, if asked for."""
    loaded = tf.saved_model.load(str(version))
    return {
        name: (
            {key: (spec.dtype, spec.shape.as_list()) for key, spec in function.structured_input_signature[1].items()},
            {key: (spec.dtype, spec.shape.as_list()) for key, spec in function.structured_outputs.items()},
        )
        for name, function in loaded.signatures.items()
        if operator or not name.startswith("extended")
    }


def of_bytes(classify):
    """Pixels as bytes under a name of the client's, a threshold in Python's words, and a second signature."""

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.uint8)])
    def serve(pixels):
        x = tf.cast(pixels, tf.float32) / 255
        if tf.reduce_mean(x) > 2:
            x = x * 0
        return {"scores": classify(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, name="row"), tf.TensorSpec([], tf.float32)])
    def flat(x, gain):
        logits = classify(tf.reshape(x * gain, [-1, 8, 8, 1]))
        return {"logits": logits, "best": tf.argmax(logits, axis=1)}

    return {"serving_default": serve, "flat": flat}


@pytest.fixture(scope="module")
def guard(classifier, detector, sealing_key, tmp_path_factory):
    """Exports the digits' classifier, whose outputs are logits, with its detector and signatures of one's own."""

    def guard(own, policy="uniform", model=classifier):
        folder = tmp_path_factory.mktemp("own")
        sealing_key.save(folder / "model.key")
        path = folder / "serving" / "digits"
        return export.save_guarded(model, path, detector, sealing_key, policy=policy, own_signatures=own)

    return guard


@pytest.fixture(scope="module")
def version(guard):
    return guard(of_bytes)


@pytest.fixture(scope="module")
def queries(digits, detector):
    """Clean images and noise as bytes, some of which are flagged."""
    noise = np.random.default_rng(0).random((40, 8, 8, 1), np.float32)
    pixels = np.round(255 * np.concatenate([digits.test.x[:100], noise])).astype(np.uint8)
    assert 0 < detector.flag(pixels.astype(np.float32) / 255).mean() < 1
    return pixels


class TestFunction:
    def test_clients_are_answered_as_by_the_model(self, version, classifier, detector, queries):
        x = queries.astype(np.float32) / 255
        flagged, said = detector.flag(x), classifier.predict(x, verbose=0)
        answer = ask(version, "serving_default", pixels=queries)
        assert set(answer) == {"scores"}
        np.testing.assert_allclose(answer["scores"][~flagged], said[~flagged], atol=1e-4)
        # Logits stay logits, all alike.
        assert np.ptp(answer["scores"][flagged], axis=1).max() == 0
        flat = ask(version, "flat", row=2 * x.reshape(-1, 64), gain=np.float32(0.5))
        np.testing.assert_allclose(flat["logits"], answer["scores"], atol=1e-4)
        assert np.array_equal(flat["best"][~flagged], said[~flagged].argmax(axis=1))

    def test_each_has_a_twin_for_the_operator(self, version, classifier, detector, queries):
        x = queries.astype(np.float32) / 255
        said = classifier.predict(x, verbose=0)
        twin = ask(version, "extended_serving_default", pixels=queries)
        assert set(twin) == {"scores", "score", "flag"}
        np.testing.assert_allclose(twin["scores"], said, atol=1e-4)
        assert np.array_equal(twin["flag"], detector.flag(x))
        flat = ask(version, "extended_flat", row=x.reshape(-1, 64), gain=np.float32(1))
        assert set(flat) == {"logits", "best", "score", "flag"}
        np.testing.assert_allclose(flat["score"], twin["score"], atol=1e-5)
        operator = ask(version, "extended", inputs=x)
        np.testing.assert_allclose(operator["probabilities"], tf.nn.softmax(said), atol=1e-4)
        assert np.array_equal(operator["flag"], twin["flag"])

    def test_public_artifact_lists_the_same(self, version, classifier, detector, tmp_path):
        public = export.save(classifier, tmp_path / "m", keep_secret=detector, own_signatures=of_bytes)
        assert listed(public) == listed(version)
        assert set(listed(public, operator=True)) == {"serving_default", "flat"}
        assert listed(version)["serving_default"] == (
            {"pixels": (tf.uint8, [None, 8, 8, 1])},
            {"scores": (tf.float32, [None, 10])},
        )

    @pytest.mark.parametrize("policy", ["reject", "decoy", "observe"])
    def test_policies_on_logits(self, guard, policy, classifier, detector, queries):
        x = queries.astype(np.float32) / 255
        flagged, said = detector.flag(x), classifier.predict(x, verbose=0)
        told = ask(guard(of_bytes, policy), "serving_default", pixels=queries)["scores"]
        np.testing.assert_allclose(told[~flagged], said[~flagged], atol=1e-4)
        if policy == "reject":
            assert not told[flagged].any()
        else:
            np.testing.assert_allclose(np.sort(told[flagged]), np.sort(said[flagged]), atol=1e-4)
            same = told[flagged].argmax(axis=1) == said[flagged].argmax(axis=1)
            assert same.all() if policy == "observe" else not same.any()

    def test_artifact_is_verified_and_inspected(self, version, sealing_key):
        checks = {check.name for check in export.verify(version, sealing_key=sealing_key, unsigned=True)}
        assert "answers" in checks
        assert set(export.inspect(version)["signatures"]) == {
            "serving_default",
            "flat",
            "extended",
            "extended_serving_default",
            "extended_flat",
        }
        assert export.load(version, sealing_key=sealing_key, unsigned=True).input_shape == (None, 8, 8, 1)

    def test_bad_values_are_mended_and_bad_shapes_refused(self, version):
        rows = np.full((2, 64), np.nan, np.float32)
        assert np.isfinite(ask(version, "flat", row=rows, gain=np.float32(1))["logits"]).all()
        with pytest.raises(tf.errors.InvalidArgumentError, match="at least one input"):
            ask(version, "flat", row=np.zeros((0, 64), np.float32), gain=np.float32(1))

    @pytest.mark.parametrize(
        ("own", "message"),
        [
            (
                lambda classify: {"flat": of_bytes(classify)["flat"]},
                r"'serving_default' among them.*signatures \['flat'\]",
            ),
            (lambda classify: [classify], "Received: list"),
            (lambda classify: {"serving_default": classify}, "Received: 'serving_default', function"),
            (lambda classify: {"serving_default": tf.function(lambda x: classify(x))}, "'serving_default'"),
            (lambda classify: 1 / 0, "ZeroDivisionError"),
            (lambda classify: {**of_bytes(classify), "extended_flat": of_bytes(classify)["flat"]}, "'extended_flat'"),
            (lambda classify: twice(classify), "must call the classifier once.*calls it 2 times"),
            (lambda classify: never(classify), "calls it 0 times"),
        ],
    )
    def test_bad(self, guard, own, message):
        with pytest.raises(InvalidArgumentError, match=message):
            guard(own)


def twice(classify):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32)])
    def serve(x):
        return {"y": classify(x) + classify(-x)}

    return {"serving_default": serve}


def never(classify):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32)])
    def serve(x):
        return {"y": x[:, 0, 0]}

    return {"serving_default": serve}


class TestKept:
    def test_of_a_keras_model(self, guard, classifier, detector, digits, tmp_path):
        """A client of what `model.export` writes."""
        classifier.export(str(tmp_path / "plain"), verbose=False)
        version = guard(export.kept_signatures(classifier))
        plain = listed(tmp_path / "plain")
        assert listed(version)["serving_default"] == plain["serving_default"]
        ((name, _),) = plain["serving_default"][0].items()
        x = digits.test.x[:50]
        clear = ~detector.flag(x)
        expected, found = (ask(path, "serving_default", **{name: x}) for path in (tmp_path / "plain", version))
        assert expected.keys() == found.keys()
        for key, values in expected.items():
            np.testing.assert_allclose(found[key][clear], values[clear], atol=1e-4)

    @pytest.fixture
    def served(self, classifier, tmp_path):
        """A SavedModel with two signatures of its own."""
        archive = keras.export.ExportArchive()
        archive.track(classifier)
        spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="plate")
        archive.add_endpoint("serving_default", lambda x: {"raw": classifier(x)}, input_signature=[spec])
        archive.add_endpoint("shares", lambda x: {"share": tf.nn.softmax(classifier(x))}, input_signature=[spec])
        archive.write_out(str(tmp_path / "served"), verbose=False)
        return tmp_path / "served"

    def test_of_a_saved_model(self, served, detector, sealing_key, digits, tmp_path):
        model = hk.models.load(served)
        fitted = hk.Detector(hk.WatermarkKey(bytes(range(32)), (8, 8, 1), 10))
        fitted.fit(model, extractor=detector.extractor).calibrate(digits.calibration.x, 0.1)
        sealing_key.save(tmp_path / "model.key")
        path = tmp_path / "serving" / "digits"
        own = export.kept_signatures(served)
        version = export.save_guarded(model, path, fitted, sealing_key, own_signatures=own)
        assert listed(version) == listed(served)
        x = digits.test.x[:50]
        clear = ~fitted.flag(x)
        for name, output in (("serving_default", "raw"), ("shares", "share")):
            expected, found = (ask(folder, name, plate=x)[output] for folder in (served, version))
            np.testing.assert_allclose(found[clear], expected[clear], atol=1e-4)
            twin = ask(version, f"extended_{name}", plate=x)
            np.testing.assert_allclose(twin[output], expected, atol=1e-4)
            assert np.array_equal(twin["flag"], ~clear)

    def test_what_cannot_be_kept_is_said(self, classifier, tmp_path):
        archive = keras.export.ExportArchive()
        archive.track(classifier)
        spec = tf.TensorSpec([None, 8, 8, 1], tf.float32, name="x")
        pixels = tf.TensorSpec([None, 8, 8, 1], tf.uint8, name="pixels")
        archive.add_endpoint("serving_default", classifier, input_signature=[spec])
        archive.add_endpoint("raw", lambda x: classifier(tf.cast(x, tf.float32)), input_signature=[pixels])
        archive.write_out(str(tmp_path / "served"), verbose=False)
        with pytest.raises(InvalidArgumentError, match=r"'raw' of .* Make the signatures by a function of your own"):
            export.kept_signatures(tmp_path / "served")
