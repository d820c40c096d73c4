import json
import os
import stat

import numpy as np
import pytest

import honeykeras as hk
from honeykeras import keyfile
from honeykeras.errors import InvalidArgumentError, KeyFileError, PassphraseError, StorageError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "watermark.key"


@pytest.fixture
def cheap_scrypt(monkeypatch):
    """The least that a file may ask for, for tests that open many."""
    monkeypatch.setitem(keyfile._SCRYPT, "n", 2**14)


def rewrite(path, content):
    path.write_bytes(content)
    path.chmod(0o600)


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    rewrite(path, json.dumps(document).encode())


@pytest.mark.parametrize("passphrase", [None, "correct horse", "ünïcode ☃"])
@pytest.mark.parametrize(
    "key",
    [
        hk.WatermarkKey.generate((28, 28, 1), 10),
        hk.WatermarkKey.generate((30,), 2, input_range=(-1.5, 2)),
        hk.WatermarkKey.generate((3,), 2, input_range=([0, -1 / 3, 1e-30], [1, 1e30, 2e-30])),
        hk.WatermarkKey.generate((2, 2), 2, input_range=(np.zeros((2, 2)), np.ones((2, 2)))),
        hk.WatermarkKey.generate((4, 4), 3, pattern=hk.patterns.Scattered(0.1, signed=True)),
    ],
    ids=["images", "vector", "ranges of features", "ranges of any shape", "signed"],
)
def test_load_inverts_save(key, path, passphrase, cheap_scrypt):
    key.save(path, passphrase)
    loaded = hk.WatermarkKey.load(path, passphrase)
    assert loaded == key
    assert loaded.description == key.description
    assert (loaded.draw_codes() == key.draw_codes()).all()


def test_most_ranges_that_a_key_may_have_fit_into_a_file(path):
    count = 2**16
    rng = np.random.default_rng(0)
    key = hk.WatermarkKey.generate((count,), 2, input_range=(-1e30 * rng.random(count), rng.random(count) + 1))
    key.save(path)
    assert hk.WatermarkKey.load(path) == key


def test_nested_ranges_fit_as_well(path):
    """However many brackets there are around each number."""
    low = np.random.default_rng(0).random((2**12, *(1 for _ in range(15))))
    header = {"input_range": [(-1e30 * low).tolist(), (low + 1).tolist()]}
    keyfile.write(path, header, bytes(32), None)
    assert keyfile.read(path, None) == (header, bytes(32))


def test_default_cost_opens(key, path):
    key.save(path, "passphrase")
    assert json.loads(path.read_text())["protection"]["n"] == 2**17
    assert hk.WatermarkKey.load(path, "passphrase") == key


def test_file_is_private_whatever_the_umask(key, path):
    before = os.umask(0)
    try:
        key.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_passphrase_hides_the_secret(key, path, cheap_scrypt):
    key.save(path, "passphrase")
    assert bytes(range(32)).hex() not in path.read_text()
    assert "passphrase" not in json.loads(path.read_text()).values()


def test_key_id_is_readable_and_public(key, path):
    key.save(path)
    assert json.loads(path.read_text())["key_id"] == key.key_id


class TestExisting:
    def test_is_never_replaced_silently(self, key, path):
        key.save(path)
        with pytest.raises(StorageError, match="already exists"):
            key.wrong_key(0).save(path)
        assert hk.WatermarkKey.load(path) == key

    def test_is_replaced_on_request(self, key, path):
        key.save(path)
        key.wrong_key(0).save(path, overwrite=True)
        assert hk.WatermarkKey.load(path) == key.wrong_key(0)
        assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o777])
def test_exposed_file_is_refused(key, path, mode):
    key.save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"by its owner alone. Received: mode {mode:04o}. Run `chmod 600"):
        hk.WatermarkKey.load(path)


class TestDamage:
    @pytest.mark.parametrize("passphrase", [None, "passphrase"])
    def test_every_truncation_is_noticed(self, key, path, passphrase, cheap_scrypt):
        key.save(path, passphrase)
        whole = path.read_bytes()
        for length in range(len(whole.rstrip()) - 1):
            rewrite(path, whole[:length])
            with pytest.raises(KeyFileError):
                hk.WatermarkKey.load(path, passphrase)

    def test_every_altered_byte_is_noticed(self, key, path):
        key.save(path)
        whole = path.read_bytes()
        meaning = json.loads(whole)
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1
            try:
                if json.loads(damaged) == meaning:
                    continue  # white space, or another spelling of the same
            except ValueError:
                pass
            rewrite(path, bytes(damaged))
            with pytest.raises(KeyFileError):
                hk.WatermarkKey.load(path)

    @pytest.mark.parametrize("field", ["key_id", "input_shape", "num_classes", "input_range", "watermark", "secret"])
    def test_altered_field_under_passphrase(self, key, path, field, cheap_scrypt):
        key.save(path, "passphrase")
        other = json.loads(path.read_text())
        donor = path.with_name("donor")
        hk.WatermarkKey.generate((5,), 7, input_range=(0, 2), pattern=hk.patterns.Scattered(0.5)).save(
            donor, "passphrase"
        )
        other[field] = json.loads(donor.read_text())[field]
        rewrite(path, json.dumps(other).encode())
        with pytest.raises(KeyFileError):
            hk.WatermarkKey.load(path, "passphrase")

    def test_checksum_does_not_outvote_the_key_id(self, key, path):
        """Whoever recomputes the checksum still cannot change what the key is for."""
        header = {"key_id": key.key_id, **key.description.get_config(), "num_classes": 9}
        keyfile.write(path, header, bytes(range(32)), None)
        with pytest.raises(KeyFileError, match="does not match its key id"):
            hk.WatermarkKey.load(path)

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            ({"watermark": {"family": "rings", "radius": 3}}, "`family` must be one of"),
            ({"watermark": {"family": "scattered", "watermark_size": 0.5}}, "must have the fields"),
            ({"watermark": ["abc"]}, "not a key that this version can use"),
            ({"input_range": [0, 10**400]}, "not a key that this version can use"),
            ({"input_range": [[0] * 3, [1] * 3]}, "of an input of shape"),
            ({"input_range": [[0, [1]], {"a": 1}]}, "`input_range`"),
            ({"key_id": "schlüssel"}, "does not match its key id"),
            ({"key_id": "\ud800"}, "does not match its key id"),
            ({"input_shape": [1] * 17}, "along at most 16 axes"),
            ({"num_classes": 10**4000}, "`num_classes`"),
            ({"watermark": {"family": "x" * 10**6}}, "`family` must be one of"),
            ({"watermark": 3}, "not a key that this version can use"),
            ({"input_shape": "28"}, "`input_shape`"),
            ({"surprise": 1}, "its fields must be"),
        ],
    )
    def test_unknown_content(self, key, path, header, message):
        keyfile.write(path, {"key_id": key.key_id, **key.description.get_config(), **header}, bytes(range(32)), None)
        with pytest.raises(KeyFileError, match=message) as raised:
            hk.WatermarkKey.load(path)
        assert len(str(raised.value)) < 1000

    def test_missing_field(self, key, path):
        keyfile.write(path, {"key_id": key.key_id}, bytes(range(32)), None)
        with pytest.raises(KeyFileError, match="input_shape"):
            hk.WatermarkKey.load(path)

    @pytest.mark.parametrize(
        "content", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b"[" * 60_000, b" " * 70_000], ids=repr
    )
    def test_no_key_file(self, path, content):
        rewrite(path, content)
        with pytest.raises(KeyFileError, match="not a honeykeras key file"):
            hk.WatermarkKey.load(path)

    @pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0])
    def test_other_version(self, key, path, version):
        key.save(path)
        edit(path, lambda document: document.update(version=version))
        with pytest.raises(KeyFileError, match="must be a key file of version 1"):
            hk.WatermarkKey.load(path)

    def test_no_error_repeats_the_secret(self, key, path):
        key.save(path)
        edit(path, lambda document: document.update(num_classes=9))
        with pytest.raises(KeyFileError) as raised:
            hk.WatermarkKey.load(path)
        assert bytes(range(32)).hex() not in str(raised.value)


class TestPassphrase:
    def test_wrong(self, key, path, cheap_scrypt):
        key.save(path, "right")
        with pytest.raises(PassphraseError, match="wrong, or the file was altered"):
            hk.WatermarkKey.load(path, "wrong")

    def test_missing(self, key, path, cheap_scrypt):
        key.save(path, "right")
        with pytest.raises(PassphraseError, match="protected by a passphrase"):
            hk.WatermarkKey.load(path)

    def test_needless(self, key, path):
        key.save(path)
        with pytest.raises(PassphraseError, match="no passphrase, but one was given"):
            hk.WatermarkKey.load(path, "needless")

    def test_empty(self, key, path):
        with pytest.raises(InvalidArgumentError, match="`passphrase` must not be empty"):
            key.save(path, "")
        assert not path.exists()

    @pytest.mark.parametrize("passphrase", [b"words", 7, ["words"], "words \ud800"], ids=repr)
    def test_that_is_no_text(self, key, path, passphrase):
        """It is told so, and not repeated."""
        with pytest.raises(InvalidArgumentError, match="`passphrase` must be text") as saving:
            key.save(path, passphrase)
        assert not path.exists()
        key.save(path)
        with pytest.raises(InvalidArgumentError, match="`passphrase` must be text") as loading:
            hk.WatermarkKey.load(path, passphrase)
        for raised in (saving, loading):
            assert "words" not in str(raised.value)

    @pytest.mark.parametrize(
        ("name", "value"), [("n", 2**13), ("n", 2**21), ("n", 2**14 + 1), ("n", 2.0**14), ("r", 16), ("p", 8), ("p", 0)]
    )
    def test_file_cannot_demand_what_it_likes(self, key, path, name, value, cheap_scrypt):
        key.save(path, "passphrase")
        edit(path, lambda document: document["protection"].update({name: value}))
        with pytest.raises(KeyFileError, match=f"Scrypt `{name}` that is a power of two in"):
            hk.WatermarkKey.load(path, "passphrase")

    @pytest.mark.parametrize(
        "change",
        [
            lambda protection: protection.update(kind="rot13"),
            lambda protection: protection.update(salt="xyz"),
            lambda protection: protection.update(salt=7),
            lambda protection: protection.update(nonce="00"),
            lambda protection: protection.pop("salt"),
        ],
        ids=["kind", "salt", "salt type", "nonce", "no salt"],
    )
    def test_altered_protection(self, key, path, change, cheap_scrypt):
        key.save(path, "passphrase")
        edit(path, lambda document: change(document["protection"]))
        with pytest.raises(KeyFileError, match="truncated or was altered"):
            hk.WatermarkKey.load(path, "passphrase")
