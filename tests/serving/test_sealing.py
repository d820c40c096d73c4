"""Sealing in Python and opening in a graph agree with RFC 8439, with `cryptography` and with each other."""

import os
import pickle
import secrets
import stat
import threading

import numpy as np
import pytest
import tensorflow as tf
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from honeykeras.errors import InvalidArgumentError, KeyFileError, SecretSerializationError, StorageError
from honeykeras.export import opening, sealing

ARTIFACT = bytes(range(16))


def octets(content):
    return tf.constant(np.frombuffer(content, np.uint8))


def decrypt(key, nonce, sealed, associated):
    """The graph's answer to what `cryptography` seals: the bytes, or None if it refuses them."""
    plain, authentic = tf.function(opening.decrypt, autograph=False)(
        *map(octets, (key, nonce, sealed[:-16], sealed[-16:], associated))
    )
    return plain.numpy().tobytes() if authentic else None


def opener(size, artifact_id=ARTIFACT):
    """A compiled function from sealed bytes and a key to what the graph makes of them."""

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec([size + sealing.OVERHEAD_BYTES], tf.uint8), tf.TensorSpec([32], tf.uint8)],
    )
    def run(sealed, key):
        return opening.open_sealed(sealed, key, artifact_id)

    def open_(sealed, key):
        plain, authentic = run(octets(sealed), octets(key._secret))
        return plain.numpy().tobytes() if authentic else None

    return open_


@pytest.fixture
def key():
    return sealing.SealingKey(bytes(range(32)))


class TestRfc8439:
    """The test vectors of RFC 8439, for the graph."""

    def test_key_stream_of_zeros(self):
        """Appendix A.1, vector 1."""
        stream = opening.keystream(octets(bytes(32)), octets(bytes(12)), 1)
        assert stream.numpy().astype("<u4").tobytes().hex() == (
            "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
            "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        )

    def test_aead(self):
        """Section 2.8.2."""
        key = bytes(range(0x80, 0xA0))
        nonce = bytes.fromhex("070000004041424344454647")
        associated = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
        sealed = bytes.fromhex(
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
            "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
            "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691"
        )
        assert decrypt(key, nonce, sealed, associated) == (
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen "
            b"would be it."
        )

    @pytest.mark.parametrize(
        ("multiplier", "added", "message", "tag"),
        [
            ("02" + 15 * "00", 16 * "00", 16 * "ff", "03" + 15 * "00"),
            ("02" + 15 * "00", 16 * "ff", "02" + 15 * "00", "03" + 15 * "00"),
            ("01" + 15 * "00", 16 * "00", 16 * "ff" + "f0" + 15 * "ff" + "11" + 15 * "00", "05" + 15 * "00"),
            ("01" + 15 * "00", 16 * "00", 16 * "ff" + "fb" + 15 * "fe" + 16 * "01", 16 * "00"),
            ("02" + 15 * "00", 16 * "00", "fd" + 15 * "ff", "fa" + 15 * "ff"),
            (
                "0100000000000000" + "0400000000000000",
                16 * "00",
                "e33594d7505e43b900000000000000003394d7505e4379cd01000000000000000000000000000000000000000000000001"
                + 15 * "00",
                "14000000000000005500000000000000",
            ),
            (
                "0100000000000000" + "0400000000000000",
                16 * "00",
                "e33594d7505e43b900000000000000003394d7505e4379cd010000000000000000000000000000000000000000000000",
                "13" + 15 * "00",
            ),
        ],
    )
    def test_sums_that_wrap(self, multiplier, added, message, tag):
        """Appendix A.3, vectors 5 to 11: what goes wrong if a carry does."""
        one_time_key = bytes.fromhex(multiplier + added)
        assert Poly1305.generate_tag(one_time_key, bytes.fromhex(message)).hex() == tag
        words, key, right = (
            tf.constant(np.frombuffer(part, "<u4"))
            for part in (bytes.fromhex(message), one_time_key, bytes.fromhex(tag))
        )
        assert opening.has_tag(words, key, right)
        for bit in range(128):
            other = bytearray(bytes.fromhex(tag))
            other[bit // 8] ^= 1 << bit % 8
            assert not opening.has_tag(words, key, tf.constant(np.frombuffer(bytes(other), "<u4")))


class TestOpening:
    @pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63, 64, 65, 127, 1000, 4096, 65_537, 2**20])
    def test_undoes_sealing(self, key, size):
        content = secrets.token_bytes(size)
        sealed = sealing.seal(content, key, ARTIFACT)
        assert opener(size)(sealed, key) == content
        assert sealing.unseal(sealed, key) == (content, ARTIFACT)

    @settings(max_examples=40, deadline=None)
    @given(
        key=st.binary(min_size=32, max_size=32),
        nonce=st.binary(min_size=12, max_size=12),
        content=st.binary(max_size=300),
        associated=st.binary(max_size=80),
    )
    def test_agrees_with_cryptography(self, key, nonce, content, associated):
        sealed = ChaCha20Poly1305(key).encrypt(nonce, content, associated)
        assert decrypt(key, nonce, sealed, associated) == content

    @pytest.mark.parametrize("size", [0, 5, 80])
    def test_refuses_every_flipped_bit(self, key, size):
        content = secrets.token_bytes(size)
        sealed, open_ = sealing.seal(content, key, ARTIFACT), opener(size)
        for bit in range(8 * len(sealed)):
            altered = bytearray(sealed)
            altered[bit // 8] ^= 1 << bit % 8
            assert open_(bytes(altered), key) is None
            with pytest.raises(KeyFileError):
                sealing.unseal(bytes(altered), key)
        assert open_(sealed, key) == content

    def test_refuses_another_key(self, key):
        other = sealing.SealingKey(bytes(32))
        assert opener(5)(sealing.seal(b"abcde", other, ARTIFACT), key) is None

    def test_refuses_what_was_sealed_for_another_artifact(self, key):
        assert opener(5)(sealing.seal(b"abcde", key, bytes(16)), key) is None

    def test_has_no_node_for_every_byte(self, key):
        """Loading takes as long as a graph has nodes."""

        def nodes(size):
            signature = [tf.TensorSpec([size], tf.uint8), tf.TensorSpec([32], tf.uint8)]
            traced = tf.function(lambda sealed, key: opening.open_sealed(sealed, key, ARTIFACT), autograph=False)
            graph = traced.get_concrete_function(*signature).graph.as_graph_def()
            return len(graph.node) + sum(len(function.node_def) for function in graph.library.function)

        assert nodes(2**20) <= nodes(1000) < 450


class TestKeyFile:
    """What the graph takes for a key is what Python does."""

    @pytest.mark.parametrize(
        "content",
        [
            bytes(range(32)).hex().encode(),
            bytes(range(100, 132)).hex().upper().encode() + b"\n",
            b" \r\n\t" + b" ".join(b"%02x" % byte for byte in range(0xE0, 0x100)) + b" ",
            bytes(range(32)),
            bytes(range(0xE0, 0x100)),
            b"0123456789abcdef" * 2,
            bytes(32),
        ],
    )
    def test_is_read(self, content, tmp_path):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        key, valid = opening.parse_key(tf.constant(content))
        assert valid
        assert key.numpy().tobytes() == sealing.SealingKey.load(tmp_path / "key")._secret

    @pytest.mark.parametrize(
        "content",
        [b"", b"0" * 63, b"0" * 65, b"g" * 64, bytes(31), bytes(33), b"0x" + b"0" * 64, bytes(64), b"\xff" * 64],
    )
    def test_of_another_form_is_refused(self, content, tmp_path):
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
        assert not opening.parse_key(tf.constant(content))[1]
        with pytest.raises(KeyFileError, match="64 hexadecimal digits, or 32 bytes"):
            sealing.SealingKey.load(tmp_path / "key")


class TestSealingKey:
    def test_is_saved_for_its_owner_alone_and_loaded(self, key, tmp_path):
        key.save(tmp_path / "model.key")
        assert stat.S_IMODE((tmp_path / "model.key").stat().st_mode) == 0o600
        assert sealing.SealingKey.load(tmp_path / "model.key") == key

    def test_is_not_overwritten_unasked(self, key, tmp_path):
        key.save(tmp_path / "model.key")
        with pytest.raises(StorageError, match="already exists"):
            sealing.SealingKey.generate().save(tmp_path / "model.key")
        assert sealing.SealingKey.load(tmp_path / "model.key") == key

    def test_that_is_missing(self, tmp_path):
        with pytest.raises(StorageError, match="Cannot read"):
            sealing.SealingKey.load(tmp_path / "model.key")

    def test_is_made_if_there_is_none(self, key, tmp_path):
        key.save(tmp_path / "there.key")
        assert sealing.SealingKey.load_or_make(tmp_path / "there.key") == key
        made = sealing.SealingKey.load_or_make(tmp_path / "new" / "model.key")
        assert sealing.SealingKey.load(tmp_path / "new" / "model.key") == made != key
        assert (tmp_path / "new" / "model.key").stat().st_mode & 0o777 == 0o600

    def test_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match="is not a folder"):
            sealing.SealingKey.load_or_make(tmp_path / "file" / "model.key")
        (tmp_path / "bad.key").touch(0o600)
        with pytest.raises(KeyFileError, match="must hold a sealing key"):
            sealing.SealingKey.load_or_make(tmp_path / "bad.key")

    def test_is_one_and_the_same_for_all_who_make_it_at_once(self, tmp_path, monkeypatch):
        """All have seen that there is none before one of them makes it."""
        generate, barrier, got = sealing.SealingKey.generate, threading.Barrier(8, timeout=60), []

        def together():
            barrier.wait()
            return generate()

        monkeypatch.setattr(sealing.SealingKey, "generate", together)
        threads = [
            threading.Thread(target=lambda: got.append(sealing.SealingKey.load_or_make(tmp_path / "model.key")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert got == [sealing.SealingKey.load(tmp_path / "model.key")] * 8
        assert os.listdir(tmp_path) == ["model.key"]

    def test_is_new_each_time(self):
        assert sealing.SealingKey.generate() != sealing.SealingKey.generate()

    def test_shows_nothing_of_itself(self, key):
        assert repr(key) == f"SealingKey(key_id={key.key_id!r})"
        assert key._secret.hex() not in repr(key)
        with pytest.raises(SecretSerializationError):
            pickle.dumps(key)

    @pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), "0" * 32, None])
    def test_has_32_bytes(self, secret):
        with pytest.raises(InvalidArgumentError, match="`secret` must be 32 bytes"):
            sealing.SealingKey(secret)


class TestSealing:
    def test_shows_nothing_of_the_content_and_never_repeats(self, key):
        content = b"secret" * 20
        sealed = [sealing.seal(content, key, ARTIFACT) for _ in range(2)]
        assert sealed[0] != sealed[1]
        assert all(b"secret" not in each for each in sealed)

    def test_for_a_new_key(self, key):
        new = sealing.SealingKey.generate()
        resealed = sealing.seal_again(sealing.seal(b"abc", key, ARTIFACT), key, new)
        assert sealing.unseal(resealed, new) == (b"abc", ARTIFACT)
        with pytest.raises(KeyFileError, match=f"must be {new.key_id}, which sealed this. Received: {key.key_id}"):
            sealing.unseal(resealed, key)

    @pytest.mark.parametrize("length", range(0, sealing.OVERHEAD_BYTES, 7))
    def test_that_is_truncated_is_refused(self, key, length):
        with pytest.raises(KeyFileError, match="truncated"):
            sealing.unseal(sealing.seal(b"", key, ARTIFACT)[:length], key)

    def test_of_a_later_version_is_refused(self, key):
        sealed = sealing.seal(b"abc", key, ARTIFACT)
        with pytest.raises(KeyFileError, match=r"format version 1\. Received: 2"):
            sealing.unseal(b"\x02" + sealed[1:], key)

    def test_needs_an_id_of_16_bytes(self, key):
        with pytest.raises(InvalidArgumentError, match=r"`artifact_id` must be 16 bytes\. Received: 3"):
            sealing.seal(b"", key, b"abc")
