"""JSON from outside: what is no such document gets one error, in one line."""

import os
import subprocess
import sys

import pytest

from honeykeras._documents import read_json, write_json
from honeykeras._messages import file_reason, first_line, reason, shortened
from honeykeras.errors import KeyFileError, StorageError

SCHEMA = {
    "type": "object",
    "required": ["files"],
    "properties": {"files": {"type": "array", "items": {"type": "integer"}}, "name": {"type": "string"}},
}


def refused(path, error=KeyFileError, **options):
    with pytest.raises(error) as raised:
        read_json(path, SCHEMA, what="a list of files", error=KeyFileError, **options)
    message = str(raised.value)
    assert message.isprintable()
    assert len(message) < 600
    message.encode()
    return message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no JSON: Expecting value"),
        (b'{"files": [', "no JSON: Expecting value"),
        (b"\xff{}", "text that is not UTF-8, from byte 0"),
        (b"[]", "at $, [] is not of type 'object'"),
        (b"{}", "at $, 'files' is a required property"),
        (b'{"files": [1, "two"]}', "at $.files[1], 'two' is not of type 'integer'"),
        (b'{"files": [1.0]}', "at $.files[0], 1.0 is not of type 'integer'"),
        (b'{"files": [true]}', "at $.files[0], True is not of type 'integer'"),
        (b'{"files": [NaN]}', "a number that is not finite, NaN"),
        (b'{"files": [-Infinity]}', "a number that is not finite, -Infinity"),
        (b'{"files": [1e400]}', "a number that is not finite, 1e400"),
        (b'{"files": [9223372036854775808]}', "a number that does not fit 64 bits, 9223372036854775808"),
        (b'{"files": [' + b"9" * 5000 + b"]}", "a number that does not fit 64 bits, 99"),
        (b'{"files": [], "name": "\\ud800"}', "at $.name, text with half a surrogate pair, '\\ud800'"),
        (b'{"files": [], "\\udfff\\n": 1}', "at $, text with half a surrogate pair, '\\udfff\\n'"),
        (b'{"files": ' + b"[" * 65 + b"]" * 65 + b"}", "one nested deeper than 64 levels"),
        (b"[" * 200_000, "one nested deeper than 64 levels"),
        (b'{"files": "' + b"x" * 5000 + b'"}', "at $.files, 'xxxx"),
        (b'{"files": [], "\\u001b[31m": ' + b"[" * 64 + b"1" + b"]" * 64 + b"}", "one nested deeper"),
    ],
)
def test_what_is_no_such_document(tmp_path, content, message):
    (tmp_path / "d.json").write_bytes(content)
    received = refused(tmp_path / "d.json", hint="Make it again.")
    assert received.startswith(f"{tmp_path / 'd.json'} must be a list of files. Received: {message}")
    assert received.endswith(". Make it again.")


def test_large_file(tmp_path):
    (tmp_path / "d.json").write_bytes(b'{"files": []}' + b" " * 100)
    assert "a file of more than 50 bytes" in refused(tmp_path / "d.json", max_bytes=50)


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX's")
def test_what_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        assert "Received: no regular file." in refused(path)


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "folder").mkdir()
    assert refused(tmp_path / "none", StorageError) == f"Cannot read {tmp_path / 'none'}: No such file or directory."
    assert "Is a directory" in refused(tmp_path / "folder", StorageError)


def test_is_read_as_it_was_written(tmp_path):
    document = {"files": (1, 2**63 - 1), "name": "\U0001f41d\u2028", "share": float("nan"), "odd name": [0.1, None]}
    write_json(tmp_path / "d.json", document)
    expected = {**document, "files": [1, 2**63 - 1], "share": None}
    assert read_json(tmp_path / "d.json", SCHEMA, what="a list of files") == expected


def test_errors_that_say_nothing_are_named():
    assert first_line(KeyError()) == "KeyError"
    assert first_line(ValueError(" \n\n  two\nthree")) == "two"
    for silent in (KeyError(), ValueError(" \n "), ValueError("\x1b[1m\n"), ValueError("Graph execution error:\n\n")):
        assert reason(silent) == file_reason(silent) == type(silent).__name__


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("Graph execution error:\n\nDetected at node x\n\nNo such thing. [[{{node x}}]] [Op:f]", "No such thing."),
        (
            "Exception encountered when calling \x1b[1mD.call()\x1b[0m.\n\n\x1b[1mNo match\x1b[0m\n\nMore",
            "No match",
        ),
        ("{{function_node __wrapped__F}} No such file; none [Op:F]", "No such file; none"),
        (
            'Graph execution error:\n\nDetected at node x:\n  File "a", line 1, in f\n\nNo fit: 1\n\t [[{{x}}]]',
            "No fit: 1",
        ),
        ("Graph execution error:\nfoo\nassertion failed: [x]", "assertion failed: [x]"),
        ("x" * 1000 + "\x07", "x" * 196 + " ..."),
    ],
)
def test_where_tensorflow_was_is_left_out(message, why):
    assert reason(ValueError(message)) == why


def test_path_of_a_file_is_left_out():
    assert file_reason(ValueError("{{function_node x}} " + "long/" * 99 + "; No space left [Op:y]")) == "No space left"


def test_text_is_printable_and_short():
    assert shortened("a\x1b[31m\ud800") == "a\\x1b[31m\\ud800"
    assert len(shortened("x" * 1000)) == 200


def test_tensorflow_is_not_needed():
    code = "import sys, honeykeras._documents; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
