"""Whatever a key file holds, it is a key or one error of honeykeras, at once, that does not repeat the secret."""

import functools
import json
import time

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import honeykeras as hk
from honeykeras import keyfile
from honeykeras.errors import HoneyKerasError
from honeykeras.export import SealingKey, signing

MASTER = bytes(range(32))
WORDS = "words"

# The file of a test is written anew for each example.
many = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

# JSON of any form, and what JSON should not have: numbers beyond all floats, NaN, lone surrogates.
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(["\ud800", "blocks", "scattered", "none", "passphrase", "00" * 32, 2**14, 10**4000])
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))


@pytest.fixture(scope="module", autouse=True)
def stretched_once():
    """Stretching takes the time that it is made to take; of the same words it gives the same."""
    stretch = functools.cache(lambda words, salt, cost, of=keyfile._stretch: of(words, salt, dict(cost)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyfile, "_stretch", lambda words, salt, cost: stretch(words, salt, tuple(sorted(cost.items()))))
        yield


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """A good file of each kind."""
    folder = tmp_path_factory.mktemp("keys")
    key = hk.WatermarkKey(MASTER, (2, 2), 3, input_range=([[0, 0], [0, -1]], [[1, 1], [1, 1]]))
    key.save(folder / "plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(keyfile._SCRYPT, "n", 2**14)
        key.save(folder / "locked", WORDS)
    SealingKey(MASTER).save(folder / "sealing")
    signing.write_key_pair(folder / "private", folder / "public")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def opens(tmp_path):
    """A function: whether a file of some content is a key of a kind. Anything but one of our errors comes through."""
    path = tmp_path / "key"
    path.touch(0o600)
    read = {
        "plain": lambda: hk.WatermarkKey.load(path),
        "locked": lambda: hk.WatermarkKey.load(path, WORDS),
        "sealing": lambda: SealingKey.load(path),
        "private": lambda: signing._check_key(path, private=True),
        "public": lambda: signing._check_key(path, private=False),
    }

    def opens(kind, content):
        path.write_bytes(content)
        started = time.perf_counter()
        try:
            read[kind]()
        except HoneyKerasError as error:
            message = str(error)
            assert len(message) < 1000
            assert "\n" not in message
            assert message.isprintable()
            assert MASTER.hex() not in message
            return False
        finally:
            # An honest file that is locked takes a twentieth of that.
            assert time.perf_counter() - started < 5
        return True

    return opens


kinds = pytest.mark.parametrize("kind", ["plain", "locked", "sealing", "private", "public"])


@kinds
def test_whole_files_open(kind, contents, opens):
    """The control of what follows."""
    assert opens(kind, contents[kind])


@kinds
@many
@given(data=st.data())
def test_bytes_that_are_altered(kind, contents, opens, data):
    damaged = bytearray(contents[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    opens(kind, bytes(damaged))


@kinds
@many
@given(data=st.data())
def test_pieces_that_are_lost_or_come_twice(kind, contents, opens, data):
    content = contents[kind]
    start, end = sorted(data.draw(st.integers(0, len(content))) for _ in range(2))
    opens(kind, content[:start] + data.draw(st.sampled_from([b"", content[start:end] * 2])) + content[end:])


@kinds
@many
@given(content=st.binary(max_size=200))
@example(content=b"\xff\xfe")
@example(content=b'{"format": "honeykeras-key", "version": 1, "secret": "' + b"[" * 50)
def test_any_bytes(kind, opens, content):
    # 32 bytes of any kind are a sealing key.
    assert opens(kind, content) == (kind == "sealing" and len(content) == 32)


@pytest.mark.parametrize("kind", ["plain", "locked"])
@many
@given(value=values)
def test_json_of_any_form(kind, opens, value):
    assert not opens(kind, json.dumps(value).encode())


@pytest.mark.parametrize("kind", ["plain", "locked"])
@many
@given(data=st.data())
def test_fields_of_any_form(kind, contents, opens, data):
    """Or missing, or beside others."""
    document = json.loads(contents[kind])
    names = st.sampled_from([*document, "checksum", "another"])
    for name in data.draw(st.lists(names, min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            document[name] = data.draw(values)
        else:
            document.pop(name, None)
    opens(kind, json.dumps(document).encode())


@many
@given(data=st.data())
def test_fields_of_any_form_behind_a_right_checksum(contents, opens, data):
    """As somebody writes them who wants to get past it."""
    document = json.loads(contents["plain"])
    document.pop("checksum")
    name = data.draw(st.sampled_from(["key_id", "input_shape", "num_classes", "input_range", "watermark", "secret"]))
    inner = isinstance(document[name], dict) and data.draw(st.booleans())
    if inner:
        document[name][data.draw(st.sampled_from([*document[name], "another"]))] = data.draw(values)
    else:
        document[name] = data.draw(values)
    document["checksum"] = keyfile._checksum(document)
    opens("plain", json.dumps(document).encode())


@many
@given(data=st.data())
def test_protection_of_any_form(contents, opens, data):
    document = json.loads(contents["locked"])
    names = st.sampled_from([*document["protection"], "another"])
    document["protection"][data.draw(names)] = data.draw(values)
    opens("locked", json.dumps(document).encode())


@pytest.mark.parametrize("field", ["input_range", "input_shape", "watermark", "key_id", "protection"])
@pytest.mark.parametrize("kind", ["plain", "locked"])
@pytest.mark.parametrize("depth", [10, 100, 20_000])
def test_lists_within_lists(kind, field, depth, contents, opens):
    assert not opens(kind, nested(contents[kind], field, depth))


def test_lists_as_deep_as_the_stack(contents, opens):
    """There are depths that the parser can just read, and nothing behind it can."""
    for depth in range(1, 1100):
        assert not opens("plain", nested(contents["plain"], "key_id", depth))


def nested(content, field, depth):
    document = {**json.loads(content), field: "HERE"}
    return json.dumps(document).replace('"HERE"', "[" * depth + "]" * depth).encode()


@pytest.mark.parametrize("kind", ["plain", "locked"])
@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 4000, "9" * 5000, "-0", "1e-400"])
@pytest.mark.parametrize("field", ["version", "num_classes", "input_range", "input_shape", "secret"])
def test_numbers_that_no_computer_holds(kind, number, field, contents, opens):
    document = json.loads(contents[kind])
    document[field] = "HERE"
    assert not opens(kind, json.dumps(document).replace('"HERE"', number).encode())


@many
@given(passphrase=st.text(st.characters(exclude_categories=[])) | st.binary() | st.integers() | st.none())
def test_passphrases(opens, contents, tmp_path, passphrase):
    """Of any kind, for a file that has none."""
    (tmp_path / "key").write_bytes(contents["plain"])
    try:
        hk.WatermarkKey.load(tmp_path / "key", passphrase)
    except HoneyKerasError:
        assert passphrase is not None
    else:
        assert passphrase is None
