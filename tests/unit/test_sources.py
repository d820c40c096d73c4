import sys

import pytest

from honeykeras._sources import is_function, load_function
from honeykeras.errors import InvalidArgumentError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that imports its neighbour, in the current folder."""
    (tmp_path / "hk_neighbour.py").write_text("ANSWER = 42\n")
    path = tmp_path / "hk_mine.py"
    path.write_text("from hk_neighbour import ANSWER\n\nNUMBER = 7\n\n\ndef answer():\n    return ANSWER\n")
    monkeypatch.chdir(tmp_path)
    yield path
    for name in ("hk_neighbour", "hk_mine"):
        sys.modules.pop(name, None)


def test_of_a_file(module):
    before = list(sys.path)
    assert load_function(f"{module}:answer", "model")() == 42
    assert load_function("hk_mine.py:answer", "model")() == 42
    assert sys.path == before


def test_of_a_module(module):
    before = list(sys.path)
    assert load_function("hk_mine:answer", "model")() == 42
    assert load_function("os.path:basename", "model")("a/b") == "b"
    assert sys.path == before


@pytest.mark.parametrize("source", ["", "mine", "mine:", ":f", "mine.py:a b", "a\0:f", None, 7])
def test_what_is_written_otherwise(source):
    assert not is_function(source)
    with pytest.raises(InvalidArgumentError, match=r"`model` must be file\.py:function or package\.module:function"):
        load_function(source, "model")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.py:f", "nowhere.py cannot be run: FileNotFoundError"),
        ("no.such.module:f", "no.such.module cannot be run: ModuleNotFoundError: No module named 'no'"),
        ("hk_mine.py:nothing", "hk_mine.py has no function nothing"),
        ("hk_mine:NUMBER", "hk_mine has no function NUMBER"),
    ],
)
def test_what_is_not_there(module, source, message):
    with pytest.raises(InvalidArgumentError) as raised:
        load_function(source, "augment")
    assert message in str(raised.value)
    assert str(raised.value).startswith("`augment` must be a function that")
    assert "\n" not in str(raised.value)


def test_a_module_that_fails(tmp_path):
    path = tmp_path / "hk_fails.py"
    path.write_text("raise RuntimeError('no disk\\nand more')\n")
    with pytest.raises(InvalidArgumentError, match=r"hk_fails.py cannot be run: RuntimeError: no disk$"):
        load_function(f"{path}:f", "dataset")
    sys.modules.pop("hk_fails", None)
