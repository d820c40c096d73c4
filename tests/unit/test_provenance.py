"""`training.json`: written and read in one place, and parsed at the door."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import honeykeras as hk
from honeykeras import provenance
from honeykeras.errors import InvalidArgumentError, StorageError

HISTORY = {"loss": [0.5, float("nan")], "accuracy": [0.1, 0.2]}


@pytest.fixture
def settings(digits):
    key = hk.WatermarkKey(bytes(32), (8, 8, 1), 10)
    return provenance.settings_of(digits, hk.Honeypot(key), epochs=3, seed=1)


@pytest.fixture
def model_path(settings, tmp_path):
    provenance.write(tmp_path, settings, history=HISTORY, baseline_history={})
    return tmp_path / "model.keras"


def test_is_read_as_it_was_written(model_path, settings):
    assert provenance.read(model_path) == json.loads(json.dumps(settings))
    written = json.loads((model_path.parent / "training.json").read_text())
    assert written["history"] == {"loss": [0.5, None], "accuracy": [0.1, 0.2]}


def test_nothing_secret_is_written(settings):
    assert set(settings) == {
        "dataset",
        "digest",
        "class_names",
        "seed",
        "key_id",
        "watermark",
        "recipe",
        "planted",
        "epochs",
    }


def test_what_must_agree(model_path, settings):
    trained = provenance.read(model_path)
    provenance.check(trained, **settings)
    for name, other in {"dataset": "mnist", "seed": 2, "key_id": "0" * 16, "epochs": 4, "recipe": {}}.items():
        with pytest.raises(InvalidArgumentError, match=f"the `{name}` that it was trained with") as raised:
            provenance.check(trained, **{**settings, name: other})
        assert str(raised.value).endswith(f"Received: {other!r}.")


def test_no_file_is_a_warning(tmp_path):
    with pytest.warns(UserWarning, match=r"There is no training\.json beside .*model\.keras"):
        trained = provenance.read(tmp_path / "model.keras")
    provenance.check(trained, seed=3)


@pytest.mark.parametrize("path", [".", "..", "/"])
def test_folders_without_a_name(path):
    with pytest.warns(UserWarning, match="cannot be checked"):
        assert provenance.read(path) == {}


def put(**changes):
    def damage(document):
        document["settings"].update(changes)
        return json.dumps(document).encode()

    return damage


@pytest.mark.parametrize(
    ("damage", "received"),
    [
        (lambda document: b"", "no JSON"),
        (lambda document: b"[" * 100_000, "one nested deeper than 64 levels"),
        (lambda document: b"[]", "at $, [] is not of type 'object'"),
        (lambda document: b"{}", "is a required property"),
        (lambda document: json.dumps({**document, "history": {"loss": ["a"]}}).encode(), "at $.history.loss[0], 'a'"),
        (lambda document: json.dumps({**document, "more": 1}).encode(), "at $, Additional properties"),
        (lambda document: json.dumps({**document, "settings": None}).encode(), "at $.settings, None is not of type"),
        (put(seed="1"), "at $.settings.seed, '1' is not of type 'integer'"),
        (put(seed=float("nan")), "a number that is not finite, NaN"),
        (put(seed=2**70), "a number that does not fit 64 bits"),
        (put(dataset="\ud800"), "at $.settings.dataset, text with half a surrogate pair"),
        (put(dataset="a\nb"), "at $.settings.dataset, 'a\\nb' does not match"),
        (put(key_id="x"), "at $.settings.key_id, 'x' does not match"),
        (put(recipe={}), "at $.settings.recipe, 'name' is a required property"),
        (put(seconds={"training": -1}), "at $.settings.seconds.training, -1 is less than the minimum"),
    ],
)
def test_what_is_no_such_file(model_path, damage, received):
    path = model_path.parent / "training.json"
    path.write_bytes(damage(json.loads(path.read_text())))
    with pytest.raises(InvalidArgumentError) as raised:
        provenance.read(model_path)
    message = str(raised.value)
    assert message.startswith(f"{path} must be how a model was trained, as `honeykeras train` writes it")
    assert received in message
    assert message.isprintable()
    assert len(message) < 700


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "training.json").mkdir()
    with pytest.raises(StorageError, match="Is a directory"):
        provenance.read(tmp_path / "model.keras")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "training.json").symlink_to("nowhere")
    with pytest.raises(StorageError, match="No such file"):
        provenance.read(tmp_path / "other" / "model.keras")


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--baseline", "{folder}/baseline", "--output", "o"],
        ["detector", "fit", "--output", "o"],
    ],
)
def test_is_refused_before_tensorflow_is_loaded(model_path, arguments):
    folder = model_path.parent
    (folder / "training.json").write_bytes(b"[" * 100_000)
    (folder / "baseline").touch()
    model_path.touch()
    hk.WatermarkKey.generate((8, 8, 1), 10).save(folder / "key", overwrite=True)
    arguments = [*(word.format(folder=folder) for word in arguments), "--key", folder / "key"]
    code = (
        "import sys; from honeykeras.cli.main import run; "
        "assert run(sys.argv[1:]) == 2; sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--model", model_path], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert "one nested deeper than 64 levels" in done.stderr


class TestMeasurements:
    """`examples/paper/measure.py` keeps its models with the same file, and goes on only with those that it wants."""

    @pytest.fixture
    def measure(self, monkeypatch):
        place = Path(__file__).parents[2] / "examples" / "paper" / "measure.py"
        specification = importlib.util.spec_from_file_location("measure", place)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        made = [keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])] * 2
        trained = hk.training.Trained(*made, HISTORY, HISTORY, made[0])
        monkeypatch.setattr(module.training, "train", lambda *args, **kwargs: trained)
        return module

    def test_models_of_an_interrupted_run(self, measure, digits, tmp_path):
        def train(*arguments):
            options = measure.arguments().parse_args(["digits", "--output", "unused", *arguments])
            return measure.train(options, 0, digits, tmp_path / "models")

        _, first = train("--epochs", "2")
        assert {"dataset": "digits", "seed": 0, "epochs": 2}.items() <= first.items()
        assert provenance.read(tmp_path / "models" / "model.keras") == first
        models, again = train("--epochs", "2")
        assert again == first
        assert set(models) == {"model", "baseline", "yardstick"}
        with pytest.raises(
            SystemExit, match=r"the `epochs` .* trained with, 2\. Received: 3\. Choose another --output"
        ):
            train("--epochs", "3")
        with pytest.raises(SystemExit, match="the `key_id` that it was trained with"):
            train("--epochs", "2", "--recipe", "paper")
        with pytest.raises(SystemExit, match="the `branch` that it was trained with"):
            train("--epochs", "2", "--no-branch")
        (tmp_path / "models" / "training.json").write_text("{}")
        with pytest.raises(SystemExit, match="is a required property"):
            train("--epochs", "2")
