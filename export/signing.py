"""Signing version folders as a whole, with OpenSSF model-signing.

Sealing keeps a secret, and does not keep anybody from rewriting the graph around it. A signature does, if it is
verified before the server gets its key.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from honeykeras import manifest
from honeykeras._files import PathLike, as_path, check_absent, read_file, staged, write_atomic
from honeykeras._optional import load_optional
from honeykeras.errors import KeyFileError, SignatureError, StorageError

# What model-signing takes.
_CURVES = ("secp256r1", "secp384r1", "secp521r1")


def write_key_pair(private_path: PathLike, public_path: PathLike) -> None:
    """Draws a pair of EC keys (P-256), and writes them as PEM files, the private one readable by its owner alone.

    Raises:
        StorageError: If there is a file at either place already, or the disk refuses.
    """
    check_absent(private_path)
    check_absent(public_path)
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_atomic(private_path, private, mode=0o600)
    try:
        write_atomic(public_path, public)
    except BaseException:
        Path(private_path).unlink()
        raise


def signature_path(version: PathLike) -> Path:
    """Where the signature of a version folder is: beside it, `serving/mnist/1.sig` for `serving/mnist/1`."""
    version = as_path(version).absolute()
    return version.with_name(f"{version.name}.sig")


def sign(version: PathLike, private_key: PathLike, *, overwrite: bool = False) -> Path:
    """Signs a version folder: which files it holds, what is in them, and by its manifest what it is.

    Only what was exported, and stands where it says that it belongs, is signed.

    Args:
        version: The version folder, for example `serving/mnist/1`. Sign last: any change to it ends the signature.
        private_key: PEM file of an EC key (P-256, P-384 or P-521), not encrypted, readable by its owner alone.
        overwrite: Whether a signature that is there already may be replaced.

    Returns:
        The signature's file, beside the version folder.

    Raises:
        KeyFileError: If there is no such key in the file, or others can read it.
        MissingDependencyError: If model-signing is not installed.
        SignatureError: If it is in another place than its manifest says.
        StorageError: If it is no version folder or damaged, there is a signature already, a file cannot be read, or
            the disk refuses.
    """
    signing, _, hashing = _library()
    _check_folder(version)
    manifest.check(as_path(version)).identity.check(version)
    path = signature_path(version)
    _check_key(private_key, private=True)
    with staged(path, overwrite=overwrite) as scratch:
        config = signing.Config().set_hashing_config(_hashing(hashing))
        config.use_elliptic_key_signer(private_key=private_key).sign(str(version), str(scratch))
    return path


def verify_signature(version: PathLike, public_key: PathLike) -> None:
    """Checks that a version folder is what was signed.

    Args:
        version: The version folder.
        public_key: PEM file of the public EC key.

    Raises:
        KeyFileError: If there is no such key in the file.
        MissingDependencyError: If model-signing is not installed.
        SignatureError: If a file was altered, added or removed, or it was signed with another key.
        StorageError: If there is no signature, or a file cannot be read.
    """
    _, verifying, hashing = _library()
    _check_folder(version)
    path = signature_path(version)
    if not path.is_file():
        raise StorageError(f"The signature of {version} must be at {path}. Received: no such file. Sign it first.")
    _check_key(public_key, private=False)
    try:
        config = verifying.Config().set_hashing_config(_hashing(hashing))
        config.use_elliptic_key_verifier(public_key=public_key).verify(str(version), str(path))
    # It raises many kinds of errors for a signature that is not right, or is none.
    except Exception as error:
        # Of the digests that follow a file's name nobody is the wiser.
        reason = re.sub(r": Expected .*|[\[\]'\"\\]", "", " ".join(str(error).split())) or type(error).__name__
        raise SignatureError(
            f"{version} must be what was signed, and by the owner of {public_key}. Received: {reason[:300]}. Do not "
            "serve it: export and sign it again."
        ) from None


def sign_bytes(content: bytes, private_key: PathLike) -> bytes:
    """A signature of a document (ECDSA with SHA-256).

    Raises:
        KeyFileError: If there is no such key in the file, or others can read it.
        StorageError: If the file cannot be read.
    """
    return _check_key(private_key, private=True).sign(content, ec.ECDSA(hashes.SHA256()))


def is_signed(content: bytes, signature: bytes, public_key: PathLike) -> bool:
    """Whether a document is what was signed.

    Raises:
        KeyFileError: If there is no such key in the file.
        StorageError: If the file cannot be read.
    """
    try:
        _check_key(public_key, private=False).verify(signature, content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _hashing(hashing: Any) -> Any:
    # By default, files that git would use are left out, and could be added unseen.
    return hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)


def _check_folder(version: PathLike) -> None:
    if not as_path(version).is_dir():
        raise StorageError(f"{version} must be a version folder. Received: no such folder.")


def _check_key(path: PathLike, *, private: bool) -> Any:
    """The key in a file; raises an error that names the file and not its content."""
    kind = "private" if private else "public"
    content = read_file(path, f"{kind} key", private=private)
    try:
        key = (
            serialization.load_pem_private_key(content, None) if private else serialization.load_pem_public_key(content)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    curve = key.curve.name if isinstance(key, (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)) else None
    if curve not in _CURVES:
        received = "something else" if curve is None else f"one on the curve {curve}"
        raise KeyFileError(
            f"{path} must hold a {kind} EC key as PEM, not encrypted, on the curve P-256, P-384 or P-521. Received: "
            f"{received}. Make one: honeykeras export signing-keys."
        )
    return key


def _library() -> tuple[Any, Any, Any]:
    # A part that was imported before would be found although the package is gone.
    load_optional("model_signing", "signing", "Signatures")
    signing, verifying, hashing = (
        load_optional(f"model_signing.{name}", "signing", "Signatures") for name in ("signing", "verifying", "hashing")
    )
    return signing, verifying, hashing
