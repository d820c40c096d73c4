"""`.keras` files: what Keras did not write, or what takes more than is there, is refused in one sentence."""

import io
import json
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest

import honeykeras as hk
from honeykeras.errors import ModelError

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """What is in the file of a small model, by member."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    path = tmp_path_factory.mktemp("model") / "model.keras"
    hk.models.save(model, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def write(contents, tmp_path):
    """A function: writes such a file with other members in it, or without some, and returns where."""

    def to_file(changes=None, compression=zipfile.ZIP_STORED, name="model.keras"):
        with zipfile.ZipFile(tmp_path / name, "w", compression) as archive:
            for member, content in {**contents, **(changes or {})}.items():
                if content is not None:
                    archive.writestr(member, content)
        return tmp_path / name

    return to_file


@pytest.fixture
def config(contents):
    return json.loads(contents["config.json"])


def refused(path):
    with pytest.raises(ModelError) as raised:
        hk.models.load(path)
    message = str(raised.value)
    assert message.startswith(f"{path} must hold a Keras model, in the .keras format. Received: ")
    assert message.isprintable()
    assert len(message) < 700
    return message


def variables(make):
    """A file of variables, made by a function of it."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        make(file)
    return content.getvalue()


def test_members_are_those_that_keras_writes(contents, write):
    assert tuple(contents) == MEMBERS
    assert hk.models.load(write()).output_shape == (None, 3)


def test_optimizers_variables_are_no_strangers(tmp_path):
    model = hk.models.small_cnn((8, 8, 1), 4)
    model.compile(keras.optimizers.Adam(amsgrad=True), loss="mse", metrics=[keras.metrics.AUC(num_thresholds=10_000)])
    model.train_on_batch(np.zeros((2, 8, 8, 1), np.float32), np.zeros((2, 4), np.float32))
    hk.models.save(model, tmp_path / "model.keras")
    loaded = hk.models.load(tmp_path / "model.keras")
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)


def test_half_precision_is_no_stranger(tmp_path):
    layers = keras.layers
    model = keras.Sequential([keras.Input((64,)), layers.Dense(500, dtype="bfloat16"), layers.Dense(3)])
    model.compile("adam", loss="mse")
    hk.models.save(model, tmp_path / "model.keras")
    assert hk.models.load(tmp_path / "model.keras").count_params() == model.count_params()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_is_missing(name, write):
    assert f"does not hold {', '.join(MEMBERS)} and nothing else" in refused(write({name: None}))


@pytest.mark.parametrize("name", ["assets/vocabulary.txt", "config.json ", "../config.json", "model.weights.npz"])
def test_a_member_more(name, write):
    assert "does not hold" in refused(write({name: b""}))


def test_a_member_twice(write):
    path = write()
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("config.json", "{}")
    assert "does not hold" in refused(path)


@pytest.mark.parametrize("name", ["model.h5", "model.zip", "model"])
def test_another_name(name, write):
    assert "Received: a file of another name." in refused(write(name=name))


def test_what_is_compressed(write):
    assert "an archive that is compressed" in refused(write(compression=zipfile.ZIP_DEFLATED))


def test_blanks_are_not_unpacked(contents, tmp_path):
    """Three gigabytes of them, compressed: neither memory nor time is taken."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("config.json", "w", force_zip64=True) as file:
            file.write(contents["config.json"])
            for _ in range(3):
                file.write(b" " * 2**20)
        for name in ("metadata.json", "model.weights.h5"):
            archive.writestr(name, contents[name])
    # What the archive says of itself is three thousand times what was written.
    content = path.read_bytes()
    size = (len(contents["config.json"]) + 3 * 2**20).to_bytes(4, "little")
    assert size in content
    path.write_bytes(content.replace(size, (3 * 10**9).to_bytes(4, "little")))
    assert "an archive that is compressed" in refused(path)


def test_long_text(write, contents):
    path = write({"config.json": contents["config.json"] + b" " * 2**24})
    assert f"Received: one of {2**24 + len(contents['config.json'])} bytes as config.json." in refused(path)


@pytest.mark.parametrize(
    ("config_json", "received"),
    [
        (b"", "no JSON: Expecting value"),
        (b"[" * 100_000, "one nested deeper than 64 levels"),
        (b'{"class_name": "Sequential", "config": ' + b'{"layers":' * 70 + b"1" + b"}" * 71, "nested deeper"),
        (b"[]", "at $, [] is not of type 'object'"),
        (b"{}", "is a required property"),
        (b'{"class_name": 3, "config": {}}', "at $.class_name, 3 is not of type 'string'"),
        (b'{"class_name": "\\ud800", "config": {}}', "text with half a surrogate pair"),
        (b'{"class_name": "Sequential", "config": {"name": NaN}}', "a number that is not finite, NaN"),
        (
            b'{"module": "keras.layers", "class_name": "Nothing", "config": {}}',
            "Could not deserialize 'keras.",
        ),
        (
            b'{"module": "keras.optimizers", "class_name": "SGD", "config": {}, "registered_name": null}',
            "an object of the class SGD",
        ),
    ],
)
def test_config_that_describes_no_model(config_json, received, write):
    assert received in refused(write({"config.json": config_json}))


@pytest.mark.parametrize("name", ["TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"])
def test_layers_that_bring_code(name, write, config):
    config["config"]["layers"].append({"module": "keras.layers", "class_name": name, "config": {}})
    message = refused(write({"config.json": json.dumps(config)}))
    assert f"one with a layer of the class {name}, which brings code of its own." in message


def test_lambda(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "model.keras")
    assert "one with a lambda, which brings code of its own." in refused(tmp_path / "model.keras")


@pytest.mark.parametrize("units", [10**6, 10**9, 2**40, 2**62])
def test_layers_far_beyond_the_variables(units, write, config):
    """Of which no memory is taken: the least would be 64 MB, the next more than most machines have."""
    config["config"]["layers"][-1]["config"]["units"] = units
    message = refused(write({"config.json": json.dumps(config)}))
    if units < 2**31:
        assert f"layers with at least {16 * units} weights, far more than are there." in message


@pytest.mark.parametrize("size", [0, 8, 100, 0.5, -1])
def test_variables_that_are_cut_off(size, write, contents):
    whole = contents["model.weights.h5"]
    cut = whole[: int(len(whole) * size) if size == 0.5 else size]
    assert "variables that cannot be read" in refused(write({"model.weights.h5": cut}))


def test_variables_that_were_altered(write, contents):
    """Keras itself reads on, where a checksum tells of it."""
    path = write()
    content, weights = path.read_bytes(), contents["model.weights.h5"]
    place = content.index(weights) + len(weights) - 1
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert "Bad CRC-32 for file 'model.weights.h5'" in refused(path)


def huge(file):
    file.create_dataset("layers/dense/vars/0", shape=(10**12,), dtype="f4")


def packed(file):
    file.create_dataset("layers/dense/vars/0", data=np.zeros(10**6, np.float32), compression="gzip")


def elsewhere(file):
    file["layers/dense"] = h5py.ExternalLink("/etc/passwd", "/x")


def linked(file):
    file["layers"] = h5py.SoftLink("/elsewhere")


def text(file):
    file.create_dataset("layers/dense/vars/0", data=["a", "b"])


def outside(file):
    file.create_dataset("layers/dense/vars/0", (4,), "u1", external=[("/etc/passwd", 0, 4)])


@pytest.mark.parametrize(
    ("make", "received"),
    [
        (huge, "variables of 4000000000000 bytes, of which"),
        (packed, "variables that are not as Keras writes them"),
        (elsewhere, "variables that are not as Keras writes them"),
        (linked, "variables that are not as Keras writes them"),
        (text, "variables that are not as Keras writes them"),
        (outside, "variables that are not as Keras writes them"),
        (lambda file: None, "could not be loaded"),
    ],
)
def test_variables_that_keras_did_not_write(make, received, write):
    assert received in refused(write({"model.weights.h5": variables(make)}))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06" + bytes(18), b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_what_is_no_archive(content, tmp_path):
    (tmp_path / "model.keras").write_bytes(content)
    refused(tmp_path / "model.keras")


def test_command_line_says_so_in_one_line(write):
    path = write({"config.json": b"[" * 100_000})
    done = subprocess.run(
        [sys.executable, "-m", "honeykeras", "attack", "--model", path, "--output", "none"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "one nested deeper than 64 levels" in done.stderr
