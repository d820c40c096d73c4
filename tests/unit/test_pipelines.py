"""Attacks and detectors over whole data sets, on workers: what the in-process way gives."""

import json

import numpy as np
import pytest

import honeykeras as hk
from honeykeras.cli.main import run as command
from honeykeras.errors import InvalidArgumentError, KeyFileError, StorageError
from honeykeras.pipelines import crafting, scoring, spread
from honeykeras.pipelines.classifiers import Classifier
from honeykeras.pipelines.running import _translated

TWO_WORKERS = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pipelines")


@pytest.fixture(scope="module")
def saved(classifier, place):
    classifier.save(place / "model.keras")
    return Classifier(place / "model.keras")


@pytest.fixture(scope="module")
def detector_file(classifier, watermark_key, digits, place):
    extractor = hk.detection.fit_extractor(digits.train.x, watermark_key.pattern, steps=30)
    fitted = hk.Detector(watermark_key).fit(classifier, extractor=extractor)
    fitted.calibrate(digits.calibration.x, max_fpr=0.02).save(place / "detector.hk", "open")
    (place / "passphrase").write_text("open\n")
    (place / "passphrase").chmod(0o600)
    return place / "detector.hk"


def images(digits, count=50):
    return hk.data.Split(digits.test.x[:count], digits.test.y[:count]).dataset()


def attack():
    return hk.attacks.PGD(epsilon=0.3, steps=5, random_start=True, seed=3)


@pytest.fixture(scope="module")
def expected(classifier, digits, place):
    """What is made in this process."""
    folder = place / "in-process"
    return hk.attacks.craft(classifier, attack(), images(digits), folder, shard_size=20, verbose=0).load()


class TestCraft:
    @pytest.mark.parametrize("options", [[], TWO_WORKERS], ids=["one", "two"])
    def test_the_same_seed_gives_the_same_images(self, saved, digits, tmp_path, expected, options):
        shards = crafting.craft(
            saved, attack(), images(digits), tmp_path / "adv", shard_size=20, options=options, verbose=0
        )
        found = shards.load()
        for field in ("x", "x_adv", "y", "success", "queries", "gradients"):
            np.testing.assert_allclose(getattr(found, field), getattr(expected, field), atol=1e-6)
        assert [each.name for each in tmp_path.iterdir()] == ["adv"]

    def test_goes_on_where_it_was(self, classifier, saved, digits, tmp_path, expected, monkeypatch):
        """What was made here need not be made by workers, and the other way round."""
        crafting.craft(saved, attack(), images(digits), tmp_path / "adv", shard_size=20, verbose=0)
        (tmp_path / "adv" / "shard-00001.npz").unlink()
        document = json.loads((tmp_path / "adv" / "craft.json").read_text())
        for name in ("examples", "successes"):
            del document[name]
        (tmp_path / "adv" / "craft.json").write_text(json.dumps(document))
        made = []
        make = crafting.Making.make
        monkeypatch.setattr(
            crafting.Making,
            "make",
            lambda self, model, number, x, y: made.append(number) or make(self, model, number, x, y),
        )
        shards = crafting.craft(saved, attack(), images(digits), tmp_path / "adv", shard_size=20, verbose=0)
        assert made == [1]
        np.testing.assert_allclose(shards.load().x_adv, expected.x_adv, atol=1e-6)

    def test_without_labels(self, classifier, saved, digits, tmp_path):
        alone = images(digits, 10).map(lambda x, y: x)
        found = crafting.craft(saved, attack(), alone, tmp_path / "adv", verbose=0)
        here = hk.attacks.craft(classifier, attack(), alone, tmp_path / "here", verbose=0)
        np.testing.assert_array_equal(found.load().y, here.load().y)

    def test_another_data_set_is_refused(self, saved, digits, tmp_path):
        crafting.craft(saved, attack(), images(digits), tmp_path / "adv", shard_size=20, verbose=0)
        turned = images(digits).map(lambda x, y: (x[::-1], y))
        with pytest.raises(InvalidArgumentError, match="same samples in the same order"):
            crafting.craft(saved, attack(), turned, tmp_path / "adv", shard_size=20, verbose=0)

    def test_a_worker_that_fails_leaves_what_was_made(self, saved, digits, tmp_path, monkeypatch):
        make = crafting.Making.make

        def fails(self, model, number, x, y):
            if number == 2:
                raise StorageError("Cannot write there.")
            return make(self, model, number, x, y)

        monkeypatch.setattr(crafting.Making, "make", fails)
        with pytest.raises(StorageError, match=r"^Cannot write there\.$"):
            crafting.craft(saved, attack(), images(digits), tmp_path / "adv", shard_size=20, verbose=0)
        assert [each.name for each in tmp_path.iterdir()] == ["adv"]


class TestScore:
    @pytest.fixture
    def score(self, detector_file, saved, digits, place, tmp_path):
        def run(**settings):
            return scoring.score(
                detector_file,
                saved,
                images(digits),
                tmp_path / "scores.npz",
                passphrase_file=place / "passphrase",
                verbose=0,
                **settings,
            )

        return run

    def test_is_the_detectors(self, score, classifier, detector_file, digits, tmp_path):
        found = score()
        fitted = hk.detection.load(detector_file, classifier, "open")
        np.testing.assert_allclose(found["score"], fitted.score(digits.test.x[:50]), atol=1e-6)
        np.testing.assert_array_equal(found["flag"], found["score"] > fitted.threshold)
        np.testing.assert_array_equal(found["label"], digits.test.y[:50])
        with np.load(tmp_path / "scores.npz") as written:
            np.testing.assert_array_equal(written["score"], found["score"])
        assert (tmp_path / "scores.npz").stat().st_mode & 0o77 == 0

    def test_by_workers_is_the_same(self, score, monkeypatch, tmp_path):
        monkeypatch.setattr(scoring, "_AT_A_TIME", 20)
        expected = score()
        found = score(options=TWO_WORKERS, overwrite=True)
        for name in scoring.FIELDS:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
        assert [each.name for each in tmp_path.iterdir()] == ["scores.npz"]

    def test_a_detector_that_does_not_open(self, detector_file, saved, digits, tmp_path):
        with pytest.raises(KeyFileError, match="passphrase"):
            scoring.score(detector_file, saved, images(digits), tmp_path / "scores.npz", options=[], verbose=0)
        assert not list(tmp_path.iterdir())

    def test_of_nothing(self, detector_file, saved, digits, tmp_path):
        with pytest.raises(InvalidArgumentError, match="at least one sample"):
            scoring.score(detector_file, saved, images(digits).take(0), tmp_path / "scores.npz", verbose=0)


class TestCommands:
    def test_attack(self, saved, tmp_path, capsys):
        words = ["attack", "--model", str(saved.path), "--dataset", "digits", "--samples", "20", "--steps", "3"]
        words += ["--shard-size", "8", "--verbose", "0"]
        assert command([*words, "--output", str(tmp_path / "here")]) == 0
        assert command([*words, "--output", str(tmp_path / "beam"), "--runner", "DirectRunner"]) == 0
        assert "fooled the model on" in capsys.readouterr().out
        here, beam = (hk.attacks.Shards.open(tmp_path / name).load() for name in ("here", "beam"))
        np.testing.assert_allclose(here.x_adv, beam.x_adv, atol=1e-6)

    def test_score(self, saved, detector_file, place, tmp_path, capsys):
        words = ["score", "--detector", str(detector_file), "--model", str(saved.path), "--dataset", "digits"]
        words += ["--detector-passphrase-file", str(place / "passphrase"), "--verbose", "0"]
        assert command([*words, "--output", str(tmp_path / "here.npz")]) == 0
        assert "images flagged" in capsys.readouterr().out
        words += ["--runner", "DirectRunner", "--part", "all", "--output", str(tmp_path / "all.npz")]
        assert command([*words, "--", "--direct_num_workers=1"]) == 0
        with np.load(tmp_path / "all.npz") as found:
            assert len(found["score"]) == 1797

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--", "--direct_num_workers=2"], "Options of Beam must come with `--runner`"),
            (["--runner", "NoRunner"], "The pipeline did not come to its end"),
        ],
    )
    def test_mistakes(self, saved, tmp_path, capsys, words, says):
        given = [
            "attack",
            "--model",
            str(saved.path),
            "--output",
            str(tmp_path / "adv"),
            "--steps",
            "2",
            "--samples",
            "9",
        ]
        assert command([*given, "--verbose", "0", *words]) == 2
        assert says in capsys.readouterr().err


def test_chunks_are_the_owners_alone_and_go(digits, saved, tmp_path, monkeypatch):
    seen = []
    read = spread.read_npz

    def reading(path, names):
        seen.append((path.stat().st_mode & 0o77, path.parent.stat().st_mode & 0o77))
        return read(path, names)

    monkeypatch.setattr(spread, "read_npz", reading)
    crafting.craft(saved, attack(), images(digits, 10), tmp_path / "adv", verbose=0)
    assert seen == [(0, 0)]


def test_what_workers_say_is_one_sentence():
    with pytest.raises(StorageError, match=r"^Cannot read it\.$"), _translated():
        raise RuntimeError("Traceback\n  File\nhoneykeras.errors.StorageError: Cannot read it. [while running 'Score']")
    with pytest.raises(StorageError, match=r"did not come to its end: ValueError: no\.$"), _translated():
        raise ValueError("no")
