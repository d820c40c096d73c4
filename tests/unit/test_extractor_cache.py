"""Extractors are kept by what they depend on, and never trusted beyond that."""

import numpy as np
import pytest

import honeykeras as hk
from honeykeras.detection import extractor, extractor_cache, fit_extractor

FAMILY = hk.patterns.Blocks(1)


@pytest.fixture(scope="module")
def x(digits):
    return digits.train.x[:200]


def counting(monkeypatch, train):
    """Counts how many times one is trained, in some way."""
    counted = []

    def count(*args):
        counted.append(args)
        return train(*args)

    monkeypatch.setattr(extractor, "_train", count)
    return counted


@pytest.fixture
def trainings(monkeypatch):
    """How many times one was trained."""
    return counting(monkeypatch, extractor._train)


@pytest.fixture
def quick_trainings(monkeypatch):
    """The same, where it is left as it is: of when one is trained, that tells all."""
    return counting(monkeypatch, lambda untrained, *_: untrained)


def test_is_trained_once(x, tmp_path, trainings):
    first, second = (fit_extractor(x, FAMILY, steps=2, cache=tmp_path / "c") for _ in range(2))
    assert len(trainings) == 1
    assert np.array_equal(first.predict(x, verbose=0), second.predict(x, verbose=0))
    (file,) = (tmp_path / "c").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("changes", [{"seed": 1}, {"steps": 3}, {"input_range": (0, 2)}, {"x": 1}, {"family": 2}])
def test_all_that_decides_counts(x, tmp_path, quick_trainings, changes):
    fit_extractor(x, FAMILY, steps=2, cache=tmp_path)
    arguments = {"steps": 2, **changes}
    other_x = x[:-1] if arguments.pop("x", None) else x
    family = hk.patterns.Blocks(arguments.pop("family", 1))
    fit_extractor(other_x, family, cache=tmp_path, **arguments)
    assert len(quick_trainings) == 2
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"PK", lambda content: content[:-100], lambda content: content[100:]])
def test_damage_is_a_warning_and_mended(x, tmp_path, quick_trainings, damage):
    fit_extractor(x, FAMILY, steps=2, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage if isinstance(damage, bytes) else damage(file.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged, and is trained again"):
        fit_extractor(x, FAMILY, steps=2, cache=tmp_path)
    fit_extractor(x, FAMILY, steps=2, cache=tmp_path)
    assert len(quick_trainings) == 2


def test_folder_that_cannot_be_is_a_warning(x, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="is not kept for the next time"):
        fit_extractor(x, FAMILY, steps=2, cache=tmp_path / "file" / "c")


def test_says_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("HONEYKERAS_CACHE", str(tmp_path))
    assert extractor_cache.folder() == tmp_path / "extractors"
    monkeypatch.delenv("HONEYKERAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert extractor_cache.folder() == tmp_path / "user" / "honeykeras" / "extractors"


def test_fit_detector_takes_it_from_there(digits, classifier, tmp_path, quick_trainings):
    key = hk.WatermarkKey(bytes(32), (8, 8, 1), 10)
    small = digits.reduced(100)
    found = [
        hk.evaluation.fit_detector(classifier, of, small, max_fpr=0.05, cache=tmp_path)
        for of in (key, key.wrong_key(0))
    ]
    assert len(quick_trainings) == 1
    assert found[0].detector_id != found[1].detector_id
