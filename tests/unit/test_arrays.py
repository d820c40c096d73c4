"""Masks from files: what is none gets one error, before memory is taken for it."""

import io
import subprocess
import sys

import numpy as np
import pytest

from honeykeras import _arrays
from honeykeras._arrays import read_mask
from honeykeras.errors import InvalidArgumentError, StorageError


def stored(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def with_header(text, version=b"\x01\x00", data=b""):
    text = text.encode()
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text + data


def header(shape, descr="'|b1'"):
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


@pytest.mark.parametrize("order", ["C", "F"])
def test_is_read_as_it_was_saved(tmp_path, order):
    mask = np.asarray(np.arange(24).reshape(2, 3, 4) % 5 == 0, order=order)
    np.save(tmp_path / "mask.npy", mask)
    assert np.array_equal(read_mask(tmp_path / "mask.npy"), mask)


def test_is_read_though_pythons_parser_miscounts(tmp_path, monkeypatch):
    """As that of 3.11.7 does now and then."""
    np.save(tmp_path / "mask.npy", np.ones(3, bool))
    read, calls = _arrays._HEADERS[1, 0], []

    def miscounting(file):
        calls.append(1)
        if len(calls) == 1:
            raise SystemError("AST constructor recursion depth mismatch (before=162, after=14)")
        return read(file)

    monkeypatch.setitem(_arrays._HEADERS, (1, 0), miscounting)
    assert read_mask(tmp_path / "mask.npy").all()
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"", "no array in NumPy's format"),
        (b"nothing of the kind", "no array in NumPy's format"),
        (stored(np.zeros(3)), "an array of dtype float64"),
        (stored(np.array([object()]), allow_pickle=True), "an array of dtype object, not of plain numbers"),
        (stored(np.array(["a"])), "an array of dtype <U1, not of plain numbers"),
        (stored(np.zeros(3, [("a", bool)])), "an array of dtype [('a', '?')], not of plain numbers"),
        (stored(np.zeros(300, bool))[:-1], "an array of shape (300,) and dtype bool, where there are 299 bytes for it"),
        (
            stored(np.zeros(300, bool)) + b"x",
            "an array of shape (300,) and dtype bool, where there are 301 bytes for it",
        ),
        (with_header(header((2**62,))), f"an array of shape ({2**62},) and dtype bool, where there are 0 bytes for it"),
        (with_header(header((0, 10**300))), "an array of shape (0, 1000"),
        (with_header(header((-1, -1)), data=b"x"), "an array of shape (-1, -1)"),
        (with_header("{'descr': '|b1'}"), "no array in NumPy's format"),
        (with_header(""), "no array in NumPy's format"),
        (with_header("(" * 9000), "no array in NumPy's format"),
        (with_header(header((1,)), b"\x02\x00")[:12] + b"\xff" * 4, "no array in NumPy's format"),
        (with_header(header((1,)), b"\x09\x00", b"x"), "no array in NumPy's format"),
    ],
)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_what_is_no_mask(tmp_path, content, received):
    (tmp_path / "mask.npy").write_bytes(content)
    with pytest.raises(InvalidArgumentError) as raised:
        read_mask(tmp_path / "mask.npy")
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'mask.npy'} must be a .npy file of a bool array. Received: {received}")
    assert message.isprintable()
    assert len(message) < 600


def test_what_is_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(StorageError, match="Cannot read the mask"):
            read_mask(path)
    with pytest.raises(InvalidArgumentError, match="Received: no regular file"):
        read_mask("/dev/zero")


def test_large_file(tmp_path):
    with open(tmp_path / "mask.npy", "wb") as file:
        file.truncate(2**33)
    with pytest.raises(InvalidArgumentError, match="a file of more than"):
        read_mask(tmp_path / "mask.npy")


def test_is_refused_before_tensorflow_is_loaded(tmp_path):
    (tmp_path / "mask.npy").write_bytes(with_header(header((10**9, 10**9))))
    code = (
        "import sys; from honeykeras.cli.main import run; "
        "assert run(['attack', '--model', 'none', '--mask', sys.argv[1], '--output', 'none']) == 2; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "mask.npy"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
