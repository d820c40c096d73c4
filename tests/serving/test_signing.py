"""A signature tells every change to a version folder, and is nobody else's."""

import os
import shutil
import stat
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from honeykeras import manifest
from honeykeras.errors import KeyFileError, MissingDependencyError, SignatureError, StorageError
from honeykeras.export import signing

FILES = {
    "saved_model.pb": b"graph",
    "assets/parameters": b"sealed",
    ".gitignore": b"*",
    "variables/variables.index": b"",
}


@pytest.fixture
def keys(signing_keys):
    return signing_keys


@pytest.fixture
def version(keys, tmp_path):
    folder = tmp_path / "model" / "1"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    manifest.write(folder, manifest.Identity.of_place(folder))
    assert signing.sign(folder, keys[0]) == folder.with_name("1.sig")
    return folder


def assert_refused(version, keys, match=""):
    with pytest.raises(SignatureError, match=r"must be what was signed(?s:.)*" + match) as caught:
        signing.verify_signature(version, keys[1])
    assert "\n" not in str(caught.value)
    assert "Digest" not in str(caught.value)
    assert keys[0].read_text().splitlines()[1] not in str(caught.value)


class TestVerify:
    def test_takes_what_was_signed(self, version, keys):
        signing.verify_signature(version, keys[1])

    def test_takes_what_was_moved_together(self, version, keys, tmp_path):
        shutil.move(version.parent, tmp_path / "moved")
        signing.verify_signature(tmp_path / "moved" / "1", keys[1])

    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("change", ["alter", "remove", "rename", "add"])
    def test_refuses_every_change(self, version, keys, name, change):
        file = version / name
        if change == "alter":
            file.write_bytes(file.read_bytes() + b"\0")
        elif change == "remove":
            file.unlink()
        elif change == "rename":
            file.rename(file.with_name("other"))
        else:
            file.with_name("another").write_bytes(b"")
        assert_refused(version, keys)

    def test_refuses_another_key(self, version, keys, tmp_path):
        signing.write_key_pair(tmp_path / "other.pem", tmp_path / "other.pub")
        assert_refused(version, (keys[0], tmp_path / "other.pub"))

    def test_refuses_the_signature_of_another_folder(self, version, keys):
        other = version.with_name("2")
        shutil.copytree(version, other)
        (other / "saved_model.pb").write_bytes(b"another graph")
        shutil.copy(signing.signature_path(version), signing.signature_path(other))
        assert_refused(other, keys)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
    def test_refuses_half_a_signature(self, version, keys, share):
        path = signing.signature_path(version)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        assert_refused(version, keys)

    def test_needs_a_signature(self, version, keys):
        signing.signature_path(version).unlink()
        with pytest.raises(StorageError, match=r"1\.sig\. Received: no such file"):
            signing.verify_signature(version, keys[1])

    def test_needs_a_folder(self, tmp_path, keys):
        with pytest.raises(StorageError, match="must be a version folder"):
            signing.verify_signature(tmp_path / "none", keys[1])


class TestSign:
    def test_replaces_a_signature_only_if_asked_to(self, version, keys):
        (version / "more").touch()
        manifest.write(version, manifest.read(version).identity)
        with pytest.raises(StorageError, match="already exists"):
            signing.sign(version, keys[0])
        assert_refused(version, keys)
        signing.sign(version, keys[0], overwrite=True)
        signing.verify_signature(version, keys[1])

    @pytest.mark.parametrize(
        "content", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
    )
    def test_needs_a_key_and_leaves_nothing_without(self, version, tmp_path, content):
        signing.signature_path(version).unlink()
        (tmp_path / "bad.pem").write_bytes(content)
        (tmp_path / "bad.pem").chmod(0o600)
        with pytest.raises(KeyFileError, match="must hold a private EC key"):
            signing.sign(version, tmp_path / "bad.pem")
        assert [path.name for path in version.parent.iterdir()] == ["1"]

    def test_takes_no_public_key_for_a_private_one(self, version, keys, tmp_path):
        shutil.copy(keys[1], tmp_path / "signing.pub")
        (tmp_path / "signing.pub").chmod(0o600)
        with pytest.raises(KeyFileError, match="must hold a private EC key"):
            signing.sign(version, tmp_path / "signing.pub", overwrite=True)

    def test_leaves_nothing_when_it_fails(self, version, keys, monkeypatch):
        from model_signing import signing as library

        signing.signature_path(version).unlink()

        def fail(self, folder, path):
            with open(path, "w") as file:
                file.write("half a sig")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(library.Config, "sign", fail)
        with pytest.raises(StorageError, match="No space left on device"):
            signing.sign(version, keys[0])
        assert [path.name for path in version.parent.iterdir()] == ["1"]

    @pytest.mark.parametrize("damage", ["no manifest", "altered", "added folder"])
    def test_needs_what_was_exported(self, version, keys, damage):
        if damage == "no manifest":
            (version / "manifest.json").unlink()
        elif damage == "altered":
            (version / "saved_model.pb").write_bytes(b"other")
        else:
            (version / "more").mkdir()
        with pytest.raises(StorageError, match="manifest"):
            signing.sign(version, keys[0], overwrite=True)

    @pytest.mark.parametrize("place", ["model/2", "other/1"])
    def test_needs_the_place_that_it_was_exported_to(self, version, keys, place):
        moved = version.parent.parent / place
        shutil.copytree(version, moved)
        with pytest.raises(SignatureError, match="must be the artifact that is expected"):
            signing.sign(moved, keys[0])
        assert not signing.signature_path(moved).exists()

    def test_says_what_to_install(self, version, keys, monkeypatch):
        monkeypatch.setitem(sys.modules, "model_signing", None)
        with pytest.raises(MissingDependencyError, match=r"honeykeras\[signing\]"):
            signing.sign(version, keys[0], overwrite=True)


def write_pair(key, folder):
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    paths = folder / "other.pem", folder / "other.pub"
    for path, content in zip(paths, (private, public), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    return paths


class TestKindsOfKeys:
    @pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
    def test_curves_of_model_signing_are_taken(self, curve, version, tmp_path):
        private, public = write_pair(ec.generate_private_key(curve()), tmp_path)
        signing.sign(version, private, overwrite=True)
        signing.verify_signature(version, public)

    @pytest.mark.parametrize("curve", [ec.SECP224R1, ec.SECP256K1, ec.BrainpoolP256R1])
    def test_other_curves_are_refused(self, curve, version, tmp_path):
        private, public = write_pair(ec.generate_private_key(curve()), tmp_path)
        message = rf"on the curve P-256, P-384 or P-521. Received: one on the curve {curve.name}"
        with pytest.raises(KeyFileError, match=message):
            signing.sign(version, private, overwrite=True)
        with pytest.raises(KeyFileError, match=message):
            signing.verify_signature(version, public)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: rsa.generate_private_key(65537, 2048),
            ed25519.Ed25519PrivateKey.generate,
        ],
        ids=["RSA", "Ed25519"],
    )
    def test_other_kinds_are_refused(self, make, version, tmp_path):
        private, public = write_pair(make(), tmp_path)
        with pytest.raises(KeyFileError, match="must hold a private EC key"):
            signing.sign(version, private, overwrite=True)
        with pytest.raises(KeyFileError, match="must hold a public EC key"):
            signing.verify_signature(version, public)


class TestKeyPair:
    def test_the_private_one_is_its_owners(self, keys):
        assert stat.S_IMODE(keys[0].stat().st_mode) == 0o600

    @pytest.mark.parametrize("public", ["same.pem", "folder/file/signing.pub"])
    def test_of_which_one_cannot_be_written_leaves_none(self, public, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").touch()
        with pytest.raises(StorageError):
            signing.write_key_pair(tmp_path / "same.pem", tmp_path / public)
        assert os.listdir(tmp_path) == ["folder"]

    def test_replaces_none(self, keys):
        before = keys[0].read_bytes()
        with pytest.raises(StorageError, match="already exists"):
            signing.write_key_pair(*keys)
        assert keys[0].read_bytes() == before
