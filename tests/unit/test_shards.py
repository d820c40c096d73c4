"""Folders of adversarial examples: what is in them is what was written, or is told."""

import json
import re
import zipfile

import numpy as np
import pytest

from honeykeras._files import sha256
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.attacks.shards import Shards, Store
from honeykeras.errors import StorageError

SETTINGS = {
    "attack": "pgd",
    "config": {"targeted": False, "input_range": [0.0, 1.0], "seed": 0},
    "levels": 256,
    "mask": "0" * 64,
    "labels": "given",
    "file_format": "npz",
    "shard_size": 4,
    "input_shape": [2, 3],
    "model": "1" * 64,
}
ARRAYS = {
    "x": np.linspace(0, 1, 24, dtype=np.float32).reshape(4, 2, 3),
    "x_adv": np.linspace(1, 0, 24, dtype=np.float32).reshape(4, 2, 3),
    "y": np.arange(4),
    "success": np.array([True, False, True, True]),
    "queries": np.full(4, 5),
    "gradients": np.full(4, 4),
}

formats = pytest.mark.parametrize("file_format", ["npz", "tfrecord"])


@pytest.fixture
def begun(tmp_path):
    """Begins a folder of a format, with one shard, whose hash is not written down."""

    def begun(file_format="npz", **changed):
        store = Store(tmp_path / "folder", {**SETTINGS, "file_format": file_format})
        store.begin()
        store.write(0, AdversarialExamples(**ARRAYS | changed))
        return store

    return begun


@pytest.fixture
def finished(begun):
    """A finished folder of two shards."""
    store = begun()
    store.write(1, AdversarialExamples(**{name: array[::-1] for name, array in ARRAYS.items()}))
    return store.finish(8, 6, {store.path(number).name: sha256(store.path(number)) for number in range(2)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_adv": ARRAYS["x_adv"] * np.nan}, "`x_adv` must lie in [0, 1]. Received: values in [nan, nan]"),
        ({"x": ARRAYS["x"] + 1}, "`x` must lie in [0, 1]. Received: values in [1, 2]"),
        ({"y": np.full(4, -2)}, "`y` is less than -1"),
        ({"queries": np.full(4, -1)}, "`queries` is less than 0"),
        ({name: array[:3] for name, array in ARRAYS.items()}, "it holds 3 examples instead of 4"),
    ],
)
@formats
def test_values_of_a_shard_that_nobody_vouches_for(file_format, changed, message, begun):
    store = begun(file_format, **changed)
    with pytest.raises(StorageError) as raised:
        store.read(0, 4, None)
    assert message in str(raised.value)
    assert str(raised.value).endswith("Remove it and call `craft` to make it anew.")


def other_arrays(**changed):
    return lambda path: np.savez(path, **ARRAYS | changed)


def recompress(path):
    np.savez_compressed(path, **ARRAYS)


def extra_member(path):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", b"again")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_arrays(x_adv=ARRAYS["x_adv"][:, :1]), "`x_adv` is float32 of shape (4, 1, 3) instead of float32 of"),
        (other_arrays(x=ARRAYS["x"].astype(np.float64)), "`x` is float64 of shape (4, 2, 3) instead of float32"),
        (other_arrays(success=ARRAYS["y"]), "`success` is int64 of shape (4,) instead of bool"),
        (other_arrays(y=np.arange(5)), "`y` is int64 of shape (5,) instead of int64 of shape (4,)"),
        (other_arrays(x=np.float32(0)), "`x` is float32 of shape () instead of float32 of shape (0, 2, 3)"),
        (other_arrays(y=np.array([None] * 4)), "an array of dtype object, not of plain numbers"),
        (other_arrays(more=np.zeros(3)), "an archive that does not hold x.npy, x_adv.npy, y.npy"),
        (lambda path: np.savez(path, x=ARRAYS["x"]), "an archive that does not hold x.npy, x_adv.npy, y.npy"),
        (recompress, "an archive that is compressed"),
        (extra_member, "an archive that does not hold x.npy, x_adv.npy, y.npy"),
        (lambda path: path.write_bytes(b"PK"), "no archive that can be read"),
    ],
    # The repr of a function is another in each process that runs tests.
    ids=lambda value: value if isinstance(value, str) else "of",
)
def test_arrays_that_are_no_shards(damage, message, begun):
    store = begun()
    damage(store.path(0))
    with pytest.raises(StorageError) as raised:
        store.read(0, 4, None)
    assert message in str(raised.value)


def test_shards_that_change_places(finished):
    """Each is whole, and of the right size."""
    first, second = (finished.folder / f"shard-0000{number}.npz" for number in range(2))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    for read in (finished.load, lambda: list(finished.dataset()), lambda: Shards.open(finished.folder)):
        with pytest.raises(Exception, match=r"its SHA-256 is not the one that craft\.json states"):
            read()
    second.write_bytes(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shards": {}}, "is not finished"),
        ({"shards": {"../../key": "0" * 64}}, "does not match"),
        ({"examples": 5, "successes": 6}, "more successes than examples"),
        ({"examples": 5}, "more successes than examples"),
        ({"examples": 10**18}, "is not finished"),
        ({"settings": {**SETTINGS, "shard_size": 4.0}}, "at $.settings.shard_size, 4.0 is not of type 'integer'"),
        ({"settings": {**SETTINGS, "config": {}}}, "at $.settings.config, 'targeted' is a required property"),
        (
            {"settings": {**SETTINGS, "config": {"targeted": False, "input_range": [1, 0]}}},
            "`input_range` must be two finite numbers",
        ),
    ],
)
def test_documents_that_contradict_themselves(changes, message, finished):
    path = finished.folder / "craft.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))
    with pytest.raises(StorageError, match=re.escape(message)):
        Shards.open(finished.folder)


def test_fewer_examples_than_the_last_shard_holds(finished):
    path = finished.folder / "craft.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "examples": 7}))
    with pytest.raises(StorageError, match="it holds 4 examples instead of 3"):
        Shards.open(finished.folder).load()
