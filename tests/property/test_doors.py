"""Whatever is damaged in a file from outside: one error, in one line that can be printed, or it did no harm."""

import io
import json
import re
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import honeykeras as hk
from honeykeras import _keras_file, provenance, report
from honeykeras._arrays import read_mask
from honeykeras._files import sha256
from honeykeras.attacks.examples import AdversarialExamples
from honeykeras.attacks.shards import Shards, Store
from honeykeras.errors import HoneyKerasError, ModelError
from honeykeras.outputs import predict_labels

many = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


X = np.random.default_rng(0).random((3, 6, 6, 1), np.float32)


def one_line(error):
    message = str(error)
    assert message
    assert len(message) < 1000
    assert message.isprintable(), repr(message)


def opens(action):
    """Whether a door lets something in; if not, for a reason that it states."""
    try:
        action()
    except HoneyKerasError as error:
        one_line(error)
        return False
    return True


@pytest.fixture(scope="module")
def crafted(tmp_path_factory):
    """A finished folder of adversarial examples."""
    rng = np.random.default_rng(0)
    x = rng.random((3, 2, 2), np.float32)
    examples = AdversarialExamples(
        x, x[::-1], np.arange(3), np.array([True, False, True]), np.ones(3, int), np.ones(3, int)
    )
    config = {"targeted": False, "input_range": [0.0, 1.0], "seed": 0, "epsilon": 0.3}
    shared = {"attack": "pgd", "levels": 256, "mask": "0" * 64, "labels": "given", "model": "1" * 64}
    form = {"file_format": "npz", "shard_size": 3, "input_shape": [2, 2]}
    store = Store(tmp_path_factory.mktemp("crafted") / "folder", {**shared, **form, "config": config})
    store.begin()
    store.write(0, examples)
    return store.finish(3, 2, {store.path(0).name: sha256(store.path(0))})


@many
@given(st.data())
def test_craft_json(crafted, damaged, data):
    path = crafted.folder / "craft.json"
    intact = path.read_bytes()
    path.write_bytes(data.draw(damaged(json.loads(intact))))
    try:
        if opens(lambda: Shards.open(crafted.folder).load()):
            assert len(Shards.open(crafted.folder)) == 3
        opens(Store(crafted.folder, crafted.settings).begin)
    finally:
        path.write_bytes(intact)


@pytest.fixture(scope="module")
def reported():
    """A report that holds all that can be asked for, in few words."""
    path = Path(__file__).parents[2] / "examples" / "paper" / "record" / "mnist-balanced-0.json"
    document = report.read(path)
    document["sweep"] = document["sweep"][:2]
    for shown in document["examples"].values():
        del shown[1:]

    def shorten(value):
        if isinstance(value, dict):
            for name, entry in value.items():
                if name in ("false_positive_rates", "true_positive_rates") and "roc" not in value:
                    value[name] = _every_tenth(entry)
                else:
                    shorten(entry)

    shorten(document)
    report.files.check_report(document)
    return document


def _every_tenth(curve):
    return {name: points[::10] for name, points in curve.items()} if isinstance(curve, dict) else curve[::10]


def shown(document):
    """What people are shown of a report, but for its plots and events."""
    card, page = report.model_card(document), report.render(document)
    json.dumps(report.model_card_json(document), allow_nan=False)
    for text in (card, page):
        assert "<script" not in text
        text.encode()
    # Tables stay tables.
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in card.splitlines() if row.startswith("|")} == {5}


@many
@given(st.data())
def test_report(reported, damaged, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "report.json"
    path.write_bytes(data.draw(damaged(reported)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("honeykeras.report.page.figures", lambda document: {})
        opens(lambda: shown(report.read(path)))


@pytest.mark.slow
@settings(many, max_examples=3000)
@given(st.data())
def test_report_with_its_plots(reported, damaged, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "report.json"
    path.write_bytes(data.draw(damaged(reported)))
    opens(lambda: shown(report.read(path)))


@pytest.fixture(scope="module")
def trained_path(tmp_path_factory, digits):
    """Where a model would be that `honeykeras train` made."""
    folder = tmp_path_factory.mktemp("trained")
    settings = provenance.settings_of(digits, hk.Honeypot(hk.WatermarkKey(bytes(32), (8, 8, 1), 10)), epochs=2, seed=3)
    provenance.write(folder, settings, history={"loss": [0.5, float("nan")]}, baseline_history={"loss": [0.5, 0.25]})
    return folder / "model.keras"


@many
@given(st.data())
def test_training_json(trained_path, digits, damaged, data):
    path = trained_path.parent / provenance.FILE
    intact = path.read_bytes()
    path.write_bytes(data.draw(damaged(json.loads(intact))))
    try:
        if opens(lambda: provenance.read(trained_path)):
            trained = provenance.read(trained_path)
            assert {"dataset", "key_id", "seed"} <= set(trained)
            json.dumps(trained, allow_nan=False).encode()
            opens(lambda: provenance.check(trained, dataset="digits", seed=3))
            opens(lambda: provenance.check_data(trained, digits))
    finally:
        path.write_bytes(intact)


@pytest.fixture(scope="module")
def mask_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("mask") / "mask.npy"
    np.save(path, np.arange(12).reshape(2, 3, 2) % 3 == 0)
    return path


_HEADER = {"descr": "|b1", "fortran_order": False, "shape": (2, 3, 2)}
_DESCRIPTIONS = [
    "|b1",
    "|O",
    "<f8",
    "|S5",
    "<M8[ns]",
    [("a", "|b1")],
    [("a", "|O", (2,))],
    "x",
    "",
    None,
    3,
    "|b1" * 999,
]
_SIZES = st.integers(-3, 3) | st.sampled_from([2**31, 2**63, 2**64, 10**300, None, 1.0, True, "2"])


@st.composite
def masks(draw, intact):
    """The content of a file that is much like one of a mask."""
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        return intact[: draw(st.integers(0, len(intact)))]
    if kind == 2:
        return altered(draw, intact)
    header = dict(_HEADER)
    header[draw(st.sampled_from([*header, "more"]))] = draw(
        st.sampled_from(_DESCRIPTIONS) | st.tuples() | st.lists(_SIZES, max_size=40).map(tuple) | _SIZES | st.text()
    )
    if draw(st.booleans()):
        del header[draw(st.sampled_from(sorted(header)))]
    text = draw(st.sampled_from([repr(header), "(" * 9000, "-" * 9000, f"{header}.mro()", "[]" * 4000, ""]))
    text = text.encode("utf-8", "surrogatepass")
    length = draw(st.just(len(text)) | st.integers(0, 2**32 - 1))
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (0, 0), (255, 255)]))
    size = (length % 2**16).to_bytes(2, "little") if version == (1, 0) else length.to_bytes(4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text + draw(st.binary(max_size=30))


def altered(draw, content):
    """Bytes with some of them changed, or cut off."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 6))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.just(len(content)) | st.integers(0, len(content)))])


@many
@given(st.data())
def test_mask(mask_path, data):
    path = mask_path.with_name("damaged.npy")
    path.write_bytes(data.draw(masks(mask_path.read_bytes())))
    with warnings.catch_warnings():
        # What Python says of headers that are no code.
        warnings.simplefilter("ignore")
        if opens(lambda: read_mask(path)):
            assert read_mask(path).dtype == bool


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    """A model of layers of several kinds, compiled."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    given = keras.Input((6, 6, 1))
    inner = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(2, 3, activation="relu"), layers.BatchNormalization()]
    )
    both = layers.Concatenate()([inner(given), layers.AveragePooling2D(3, 1)(layers.Rescaling(2.0)(given))])
    model = keras.Model(given, layers.Dense(3, kernel_regularizer="l2")(layers.Dropout(0.1)(layers.Flatten()(both))))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    path = tmp_path_factory.mktemp("model") / "model.keras"
    hk.models.save(model, path)
    return path


@pytest.fixture(scope="module")
def members(model_path):
    with zipfile.ZipFile(model_path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@st.composite
def model_files(draw, path, members, damaged):
    """The content of a file that is damaged somewhere: in its layers, its variables, or as an archive."""
    members = dict(members)
    match draw(st.integers(0, 9)):
        case 0:
            return altered(draw, path.read_bytes())
        case 1 | 2 | 3:
            members["model.weights.h5"] = altered(draw, members["model.weights.h5"])
        case 4:
            moved = members.pop(draw(st.sampled_from([*members, "assets/x"])), b"")
            members[draw(st.sampled_from(["metadata.json", "model.weights.npz", "assets/", "\x1b\n"]))] = moved
        case _:
            members["config.json"] = draw(damaged(json.loads(members["config.json"])))
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def look_through(path):
    """What is done before Keras sees a file: nothing but one kind of error is raised."""
    try:
        _keras_file._check(path)
    except ValueError as error:
        raise ModelError(error) from None


def use(path):
    """What commands do with a model."""
    model = hk.models.load(path)
    opens(lambda: predict_labels(model, X))
    opens(lambda: hk.attacks.PGD(0.1, steps=2).generate(model, X, np.arange(3)))


def test_intact_model(model_path):
    model = hk.models.load(model_path)
    assert len(hk.attacks.PGD(0.1, steps=2).generate(model, X, np.arange(3))) == 3


@many
@given(st.data())
def test_model_is_looked_through(model_path, members, damaged, data):
    path = model_path.with_name("damaged.keras")
    path.write_bytes(data.draw(model_files(model_path, members, damaged)))
    opens(lambda: look_through(path))


@settings(many, max_examples=30)
@given(st.data())
def test_model(model_path, members, damaged, data):
    path = model_path.with_name("damaged.keras")
    path.write_bytes(data.draw(model_files(model_path, members, damaged)))
    opens(lambda: use(path))


@pytest.mark.slow
@settings(many, max_examples=1000)
@given(st.data())
def test_model_at_length(model_path, members, damaged, data):
    path = model_path.with_name("damaged.keras")
    path.write_bytes(data.draw(model_files(model_path, members, damaged)))
    opens(lambda: use(path))
