"""The map of the house is true: every module is on it, and no import runs upwards."""

import ast
import re
from pathlib import Path

import pytest

import honeykeras as hk

PACKAGE = Path(hk.__file__).parent
ROOT = Path(__file__).parents[2]
MAP = ROOT / "docs" / "architecture.md"


def modules():
    """The file of each module, by its name."""
    found = {}
    for folder, prefix in ((ROOT / "honeykeras", "honeykeras"), (ROOT / "export", "honeykeras.export")):
        for path in folder.rglob("*.py"):
            parts = [prefix, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    # Names of the package are loaded when they are first used.
    del found["honeykeras"]
    return found


def statements(node):
    """All that runs, whenever it does: not what is for types alone."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from statements(child)


def imports(name, files):
    found = set()
    for node in statements(ast.parse(files[name].read_text())):
        if isinstance(node, ast.ImportFrom):
            # Of `from package import module`, the module.
            named = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(each if each in files else node.module for each in named)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {each for each in found if each in files and each != name}


@pytest.fixture(scope="module")
def drawn():
    """What the map says: modules in order, each with its imports."""
    rows = re.findall(r"^\| `([\w.]+)` \| .+ \| (.*) \|$", MAP.read_text(), re.MULTILINE)
    return [
        (f"honeykeras.{name}", {f"honeykeras.{each}" for each in re.findall(r"`([\w.]+)`", row)}) for name, row in rows
    ]


def test_every_module_is_on_it_once(drawn):
    assert sorted(name for name, _ in drawn) == sorted(modules())


def test_imports_are_those_of_the_modules(drawn):
    files = modules()
    for name, said in drawn:
        found = imports(name, files)
        missing, gone = found - said, said - found
        assert not missing | gone, f"docs/architecture.md, {name}: add {sorted(missing)}, remove {sorted(gone)}"


def test_no_import_runs_upwards(drawn):
    above = set()
    for name, said in drawn:
        assert said <= above, f"{name} imports {sorted(said - above)}, which stand below it in docs/architecture.md"
        above.add(name)
