"""A detector is a value: it is saved, loaded, named, judged and exported as the one that was fitted."""

import json
import stat

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import honeykeras as hk
from honeykeras import detectorfile, fingerprints
from honeykeras.attacks.base import Perturbed
from honeykeras.detection import KINDS, Samples
from honeykeras.errors import InvalidArgumentError, KeyFileError, PassphraseError, StorageError

SHAPE = (8, 8, 1)
KEY = hk.WatermarkKey(bytes(range(32)), SHAPE, 10)
SCATTERED = hk.WatermarkKey(bytes(range(32)), SHAPE, 10, pattern=hk.patterns.Scattered())


@pytest.fixture(scope="module")
def samples(digits):
    x = digits.detector.x
    return Samples(digits.train.x, held_out=x, adversarial=np.clip(x + np.float32(0.2), 0, 1))


@pytest.fixture(scope="module")
def fitted(classifier, digits, samples):
    """One detector of each kind, by name."""
    first = hk.Detector(KEY).fit(classifier, samples, steps=5)
    found = {}
    for name, kind in KINDS.items():
        detector = kind(SCATTERED if name == "paper" else KEY)
        detector.adopt(first)
        found[name] = detector.fit(classifier, samples).calibrate(digits.calibration.x, 0.1)
    return found


@pytest.fixture(scope="module")
def detector(fitted):
    return fitted["key"]


@pytest.fixture(scope="module")
def path(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "detector.hk"
    detector.save(path)
    return path


class TestRoundTrip:
    @pytest.mark.parametrize("name", KINDS)
    def test_what_is_loaded_decides_alike(self, name, fitted, classifier, digits, tmp_path):
        detector = fitted[name]
        detector.save(tmp_path / "d")
        loaded = hk.detection.load(tmp_path / "d", classifier)
        assert type(loaded) is type(detector)
        assert np.array_equal(loaded.score(digits.test.x), detector.score(digits.test.x))
        assert loaded.calibration == detector.calibration
        assert loaded.detector_id == detector.detector_id

    def test_by_its_own_class(self, path, detector, classifier):
        assert hk.Detector.load(path, classifier).detector_id == detector.detector_id
        with pytest.raises(KeyFileError, match=r"of the kind 'logistic'\. Received: one of the kind 'key'"):
            KINDS["logistic"].load(path, classifier)

    def test_a_kind_of_ones_own(self, classifier, digits, tmp_path):
        detector = Brightness(KEY).fit(classifier).calibrate(digits.calibration.x, 0.1)
        detector.save(tmp_path / "d")
        loaded = Brightness.load(tmp_path / "d", classifier)
        assert np.array_equal(loaded.flag(digits.test.x), detector.flag(digits.test.x))
        with pytest.raises(KeyFileError, match="loaded by its own class"):
            hk.detection.load(tmp_path / "d", classifier)

    def test_is_private_and_never_overwritten_by_accident(self, path, detector):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        before = path.read_bytes()
        with pytest.raises(StorageError, match="already exists"):
            detector.save(path)
        assert path.read_bytes() == before

    def test_passphrase(self, detector, classifier, tmp_path):
        detector.save(tmp_path / "d", "correct horse")
        assert hk.Detector.load(tmp_path / "d", classifier, "correct horse").detector_id == detector.detector_id
        for wrong in (None, "battery staple"):
            with pytest.raises(PassphraseError):
                hk.Detector.load(tmp_path / "d", classifier, wrong)
        header, encrypted = detectorfile.read_header(tmp_path / "d")
        assert (header["detector_id"], encrypted) == (detector.detector_id, True)

    def test_header_holds_no_secret(self, path, detector):
        document = json.loads(path.read_text())
        document.pop("secret")
        public = json.dumps(document)
        assert repr(detector.threshold) not in public
        assert str(detector.secret[0]) not in document["detector_id"]
        assert len(public) < 4000

    def test_must_be_calibrated(self, classifier, detector, tmp_path):
        unready = detector.for_key(KEY).fit(classifier)
        with pytest.raises(InvalidArgumentError, match="must be calibrated first"):
            unready.save(tmp_path / "d")
        assert not list(tmp_path.iterdir())

    def test_model_must_be_its_own(self, path, digits):
        other = hk.models.small_cnn(SHAPE, 10, seed=3)
        with pytest.raises(InvalidArgumentError, match="with the model that it was fitted for"):
            hk.Detector.load(path, other)


class TestId:
    def test_is_that_of_an_equal_one(self, detector, classifier, digits, samples):
        again = hk.Detector(KEY).fit(classifier, extractor=detector.extractor)
        assert again.calibrate(digits.calibration.x, 0.1).detector_id == detector.detector_id

    def test_says_what_decides(self, detector, classifier, digits):
        """Threshold, key, extractor and model each change it."""
        seen = {detector.detector_id}

        def fit(key=KEY, model=classifier, extractor=detector.extractor, max_fpr=0.1):
            return hk.Detector(key).fit(model, extractor=extractor).calibrate(digits.calibration.x, max_fpr)

        other_model = hk.models.small_cnn(SHAPE, 10, seed=3)
        other_extractor = hk.detection.fit_extractor(digits.train.x, KEY.pattern, steps=1)
        for changes in (
            {"max_fpr": 0.3},
            {"key": KEY.wrong_key(0)},
            {"model": other_model},
            {"extractor": other_extractor},
        ):
            seen.add(fit(**changes).detector_id)
        assert len(seen) == 5

    def test_fingerprint_is_of_the_weights(self, classifier, tmp_path):
        hk.models.save(classifier, tmp_path / "m.keras")
        assert fingerprints.of_model(hk.models.load(tmp_path / "m.keras")) == fingerprints.of_model(classifier)


class TestDamage:
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_is_one_clear_error(self, path, tmp_path, data):
        content = bytearray(path.read_bytes())
        kind = data.draw(st.sampled_from(["flip", "cut", "grow", "noise"]))
        place = data.draw(st.integers(0, len(content) - 2))
        if kind == "flip":
            content[place] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del content[place:]
        elif kind == "grow":
            content[place:place] = data.draw(st.binary(min_size=1, max_size=9).filter(bytes.strip))
        else:
            content = bytearray(data.draw(st.binary(max_size=200)))
        damaged = tmp_path / "d"
        damaged.unlink(missing_ok=True)
        damaged.write_bytes(content)
        damaged.chmod(0o600)
        try:
            found = detectorfile.read(damaged)
        except KeyFileError:
            return
        # White space of JSON, or an escape that means the same.
        assert detectorfile.identify(found) == json.loads(path.read_text())["detector_id"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"arrays": {"codes": [10, 8, 8, 1], "secret": [640], "weights": []}},
            {"arrays": {"codes": [2**28] * 4, "secret": [2**28], "weights": []}},
            {"arrays": {"codes": [], "secret": [], "weights": []}},
            {"detector_id": "0" * 16},
            {"kind": 3},
            {"max_fpr": 2},
            {"networks": []},
            {"extra": 1},
        ],
    )
    def test_headers_that_do_not_fit(self, path, tmp_path, changes):
        """With a checksum that is right, as whoever writes such a file would make it."""
        from honeykeras import keyfile

        header, payload = keyfile.read(path, None, kind=detectorfile.FORMAT)
        keyfile.write(tmp_path / "d", {**header, **changes}, payload, None, kind=detectorfile.FORMAT)
        with pytest.raises(KeyFileError):
            detectorfile.read(tmp_path / "d")

    def test_description_of_another_input(self, path, classifier, tmp_path):
        import dataclasses

        contents = detectorfile.read(path)
        for changed in ({"input_shape": "x"}, {**contents.description, "input_shape": [6, 6, 1]}):
            (tmp_path / "d").unlink(missing_ok=True)
            detectorfile.write(tmp_path / "d", dataclasses.replace(contents, description=changed), None)
            with pytest.raises(KeyFileError, match="is not a detector that this version can use"):
                hk.Detector.load(tmp_path / "d", classifier)


class TestJudging:
    def test_judges_the_one_that_is_given(self, classifier, digits, detector, monkeypatch):
        monkeypatch.setattr("honeykeras.detection.detector.fit_extractor", lambda *_, **__: pytest.fail("fitted again"))
        found = hk.evaluate(
            classifier,
            KEY,
            digits,
            baseline=hk.models.small_cnn(SHAPE, 10, seed=1),
            attacks=[hk.attacks.PGD(0.3, steps=2)],
            detector=detector,
            samples=20,
        )
        assert found.detection.detector_id == detector.detector_id
        assert found.detection.max_fpr == 0.1
        expected = np.mean(detector.flag(digits.test.x))
        assert found.detection.rates.false_positives.value == pytest.approx(expected)
        assert hk.report.make(found, {})["detection"]["detector_id"] == detector.detector_id

    @pytest.mark.parametrize(
        ("key", "changes", "message"),
        [
            (KEY.wrong_key(1), {}, "must be for the key that is judged"),
            (KEY, {"max_fpr": 0.2}, "`max_fpr` must be that of the detector"),
        ],
    )
    def test_another_is_refused_before_any_work(self, classifier, digits, detector, key, changes, message):
        with pytest.raises(InvalidArgumentError, match=message):
            hk.evaluate(
                classifier,
                key,
                digits,
                baseline=classifier,
                attacks=[hk.attacks.PGD(0.3)],
                detector=detector,
                **changes,
            )

    def test_model_must_be_its_own(self, digits, detector):
        other = hk.models.small_cnn(SHAPE, 10, seed=3)
        with pytest.raises(InvalidArgumentError, match="must have been fitted for the model"):
            hk.evaluate(other, KEY, digits, baseline=other, attacks=[hk.attacks.PGD(0.3)], detector=detector)


class Brightness(hk.detection.CalibratedDetector):
    """A kind of detector that nobody foresaw."""

    name = "my-brightness"
    key_specific = False
    needs_adversarial = False

    def fit(self, model, samples=None, *, seed=0, verbose=0):
        self._set(model, np.array([1.0]))
        return self

    def statistic(self, x, outputs, secret):
        return secret[0] * tf.cast(tf.reduce_mean(x, [1, 2, 3]), tf.float64)


class Brighten(hk.attacks.Attack):
    """An attack that nobody foresaw."""

    name = "my-brighten"

    def perturb(self, logits, x, y, mask, seeds):
        ones = tf.ones_like(y)
        return Perturbed(tf.clip_by_value(x + 0.5, *self.bounds), ones, tf.zeros_like(ones))


class TestOnesOwn:
    @pytest.fixture(scope="class")
    @staticmethod
    def found(classifier, digits):
        return hk.evaluate(
            classifier,
            KEY,
            digits,
            baseline=hk.models.small_cnn(SHAPE, 10, seed=1),
            attacks=[Brighten()],
            detector=Brightness(KEY).fit(classifier).calibrate(digits.calibration.x, 0.1),
            baseline_detectors=["trapdoor"],
            samples=200,
        )

    def test_detector_and_attack_are_judged(self, found):
        assert found.detection.detector == "my-brightness"
        assert found.detection.rates.attacks["my-brighten"].true_positives.value > 0.9
        assert not found.detection.exceeds_controls, "what needs no key is no honeypot effect"

    def test_and_are_shown(self, found, tmp_path):
        hk.report.write(tmp_path / "report.json", hk.report.make(found, {}))
        document = hk.report.read(tmp_path / "report.json")
        for shown in (hk.report.render(document), hk.report.model_card(document)):
            assert "my-brighten" in shown
        assert "my-brightness" in hk.report.render(document)
        assert "my-brighten" in json.dumps(hk.report.model_card_json(document))

    def test_kind_as_a_baseline(self, classifier, digits, detector):
        with pytest.raises(InvalidArgumentError, match="must hold no kind twice"):
            hk.evaluate(
                classifier,
                KEY,
                digits,
                baseline=classifier,
                attacks=[Brighten()],
                detector=detector,
                baseline_detectors=[Brightness, Brightness],
            )


@pytest.fixture(scope="module")
def extractors(digits):
    return [hk.detection.fit_extractor(digits.train.x, KEY.pattern, steps=steps, seed=steps) for steps in (1, 5)]


class TestAnotherExtractor:
    """What was compiled for one extractor is not used with another."""

    @staticmethod
    def scores(detector, x):
        """As the layer has them, which is compiled for itself."""
        outputs = detector.model(x)
        return detector.calibrate(x, 0.1).layer()(x, outputs)["score"].numpy()

    def test_fitted_again(self, classifier, digits, extractors):
        x, detector = digits.test.x[:50], hk.Detector(KEY)
        found = []
        for extractor in extractors:
            found.append(detector.fit(classifier, extractor=extractor).score(x))
            assert np.allclose(found[-1], self.scores(detector, x), atol=1e-5)
        assert not np.allclose(*found)

    def test_adopted_and_then_given(self, classifier, digits, extractors):
        x, (first, second) = digits.test.x[:50], extractors
        fitted = hk.Detector(KEY).fit(classifier, extractor=first)
        fitted.score(x)
        other = hk.Detector(KEY)
        other.adopt(fitted)
        other.fit(classifier, extractor=second)
        assert np.allclose(other.score(x), self.scores(other, x), atol=1e-5)
        assert not np.allclose(other.score(x), fitted.score(x))

    def test_adopted_is_not_compiled_again(self, classifier, digits, extractors):
        x = digits.test.x[:50]
        fitted = hk.Detector(KEY).fit(classifier, extractor=extractors[0])
        fitted.score(x)
        wrong = fitted.for_key(hk.WatermarkKey(bytes(32), SHAPE, 10)).fit(classifier)
        assert wrong._run is fitted._run
        assert np.allclose(wrong.score(x), self.scores(wrong, x), atol=1e-5)


def test_extractor_is_trained_once_for_all_kinds(classifier, detector, digits, monkeypatch):
    trained = []
    monkeypatch.setattr("honeykeras.detection.detector.fit_extractor", lambda *_, **__: trained.append(1))
    evaluation = hk.evaluate(
        classifier,
        KEY,
        digits,
        baseline=classifier,
        attacks=[hk.attacks.PGD(0.3, steps=3)],
        detector=detector,
        baseline_detectors=["logistic", "full"],
        samples=60,
    )
    assert set(evaluation.baselines) == {"logistic", "full"}
    assert trained == []
