"""What holds of the package as a whole."""

import ast
import importlib.metadata
import importlib.resources
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import honeykeras as hk
from honeykeras import errors

PACKAGE = Path(hk.__file__).parent


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_public_name_is_there():
    for name in [*hk.__all__, "__version__"]:
        assert getattr(hk, name) is not None
    assert sorted(hk.__all__) == hk.__all__
    assert set(dir(hk)) == {*hk.__all__, "__version__"}


def test_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        hk.nothing  # noqa: B018


def test_version_is_the_distributions():
    assert hk.__version__ == importlib.metadata.version("honeykeras")


def test_types_and_schema_are_packaged():
    assert importlib.resources.files("honeykeras").joinpath("py.typed").is_file()
    assert importlib.resources.files("honeykeras.report").joinpath("schema.json").is_file()


def test_export_is_importable_and_imported_by_what_stands_on_top_alone():
    for path in PACKAGE.rglob("*.py"):
        if {"audit", "cli", "export", "gateway"}.isdisjoint(path.relative_to(PACKAGE).parts):
            assert not any((name or "").startswith("honeykeras.export") for name in imports(path)), path


def test_library_does_not_import_the_command_lines_packages():
    for path in PACKAGE.rglob("*.py"):
        if "cli" not in path.relative_to(PACKAGE).parts:
            assert not any((name or "").split(".")[0] in ("click", "rich") for name in imports(path)), path


def test_import_does_not_wait_for_tensorflow():
    code = (
        "import sys, honeykeras, honeykeras.cli.main; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_other_backends_are_refused_at_once(monkeypatch):
    monkeypatch.setattr("keras.config.backend", lambda: "jax")
    specification = importlib.util.spec_from_file_location("again", PACKAGE / "outputs.py")
    with pytest.raises(
        errors.MissingDependencyError, match=r"Keras must run on TensorFlow\. Received: the backend 'jax'"
    ):
        specification.loader.exec_module(importlib.util.module_from_spec(specification))


def test_tree_of_errors_is_drawn_as_it_is():
    drawn = {line.split("── ")[1].split()[0] for line in errors.__doc__.splitlines() if "── " in line}
    assert drawn | {"HoneyKerasError"} == set(errors.__all__)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.HoneyKerasError)


def test_missing_command_line_packages_are_named():
    code = "import sys; sys.modules['click'] = None\nfrom honeykeras.__main__ import main\nsys.exit(main())"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert result.returncode == 2
    assert (
        result.stderr
        == "honeykeras: error: The command line must have its packages. Run `pip install 'honeykeras[cli]'`.\n"
    )


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/keys.md",
        "docs/training.md",
        "docs/planting.md",
        "docs/attacks.md",
        "docs/detection.md",
        "docs/serving.md",
        "docs/evidence.md",
    ],
)
def test_documented_python_runs(name, tmp_path, monkeypatch):
    """Every Python block of a page, in order, in one namespace; training shortened to one epoch, or a few steps."""
    page = Path(__file__).parents[2] / name
    monkeypatch.chdir(tmp_path)
    fit = keras.Model.fit
    monkeypatch.setattr(keras.Model, "fit", lambda self, *args, **kwargs: fit(self, *args, **{**kwargs, "epochs": 1}))

    def quick(*args, **kwargs):
        return hk.detection.fit_extractor(*args, **{**kwargs, "steps": 20})

    monkeypatch.setattr("honeykeras.detection.detector.fit_extractor", quick)
    data = hk.data.load("digits")
    model = hk.models.small_cnn(data.input_shape, data.num_classes)
    key = hk.WatermarkKey.generate(data.input_shape, data.num_classes)
    names = {
        "hk": hk,
        "model": model,
        "key": key,
        "data": data,
        "dataset": data.train.dataset(),
        "validation": data.detector.dataset(),
    }
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, names)  # noqa: S102


def test_documented_sweep_is_one(digits, evaluation, sweep_results, monkeypatch):
    """It takes minutes, so that its results are made up; what it is called with is looked at."""
    (block,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/report.md").read_text(), re.DOTALL)
    run, called = hk.sweep.run, []

    def quick(*args, **kwargs):
        called.append(inspect.signature(run).bind(*args, **kwargs).arguments)
        return sweep_results

    monkeypatch.setattr(hk.sweep, "run", quick)
    names = {"hk": hk, "data": digits, "master": bytes(32), "evaluation": evaluation, "settings": {}}
    exec(block, names)  # noqa: S102
    (arguments,) = called
    assert {point.recipe.name for point in arguments["points"]} == {"paper", "balanced"}
    assert len(names["document"]["sweep"]) == len(sweep_results)
