"""Policies on disk: signed, put in force, and taken back."""

from __future__ import annotations

import re
from pathlib import Path

from honeykeras._files import PathLike, as_path, read_file, write_atomic
from honeykeras.errors import InvalidArgumentError, SignatureError, StorageError
from honeykeras.export import signing
from honeykeras.gateway.policy import Policy

_MAX_BYTES = 2**20


def signature_path(path: PathLike) -> Path:
    """Where the signature of a policy is: beside it, `policy.toml.sig`."""
    path = as_path(path)
    return path.with_name(f"{path.name}.sig")


def read(path: PathLike, public_key: PathLike | None = None) -> Policy:
    """The policy of a file.

    Args:
        path: The file.
        public_key: File of the public key that it must be signed for, if it must.

    Raises:
        InvalidArgumentError: If it is no policy, with the place.
        KeyFileError: If there is no key in that file.
        SignatureError: If it is not what was signed.
        StorageError: If it, or its signature, cannot be read.
    """
    # Read once: what is verified is what is in force.
    content = read_file(path, "policy", private=False, max_bytes=_MAX_BYTES)
    if public_key is not None:
        signature = signature_path(path)
        if not signature.is_file():
            raise StorageError(
                f"The signature of {path} must be at {signature}. Received: no such file. Sign it: honeykeras policy "
                "sign."
            )
        signed = read_file(signature, "signature", private=False)
        if not signing.is_signed(content, signed, public_key):
            raise SignatureError(
                f"{path} must be what was signed, by the owner of {public_key}. Received: something else. Sign it: "
                "honeykeras policy sign."
            )
    return Policy.parse(content, str(path))


def sign(path: PathLike, private_key: PathLike) -> Path:
    """Signs a policy; returns the signature's file, beside it.

    Raises:
        InvalidArgumentError: If it is no policy.
        KeyFileError: If there is no such key in the file, or others can read it.
        StorageError: If a file cannot be read, or the disk refuses.
    """
    content = read_file(path, "policy", private=False, max_bytes=_MAX_BYTES)
    Policy.parse(content, str(path))
    write_atomic(signature_path(path), signing.sign_bytes(content, private_key), overwrite=True)
    return signature_path(path)


def install(new: PathLike, path: PathLike, public_key: PathLike | None = None) -> Policy:
    """Puts a policy in the place of another, which is kept beside it, `policy.toml.1`, `.2` and so on by its version.

    Args:
        new: The file of the new policy. Its version must be another than those that were in force.
        path: The file that gateways read.
        public_key: As for `read`.

    Raises:
        InvalidArgumentError: If it is no policy, or its version was in force before.
        HoneyKerasError: As `read`.
    """
    policy = read(new, public_key)
    path = as_path(path)
    if path.exists():
        old = read(path)
        if policy.version in {old.version, *_kept(path)}:
            raise InvalidArgumentError(
                f"{new} must have a `version` that was not in force before. Received: {policy.version}. Count it up."
            )
        _copy(path, path.with_name(f"{path.name}.{old.version}"))
    _copy(new, path)
    return policy


def rollback(path: PathLike, public_key: PathLike | None = None) -> Policy:
    """Puts the policy that was in force before in the place of the one that is; that is kept as well.

    Args:
        path: The file that gateways read.
        public_key: As for `read`.

    Raises:
        InvalidArgumentError: If there is none before.
        HoneyKerasError: As `read`.
    """
    path = as_path(path)
    current = read(path)
    before = [version for version in _kept(path) if version < current.version]
    if not before:
        raise InvalidArgumentError(
            f"There must be a policy before version {current.version}, kept by `honeykeras policy install`. Received: "
            f"none beside {path}."
        )
    kept = path.with_name(f"{path.name}.{max(before)}")
    policy = read(kept, public_key)
    _copy(path, path.with_name(f"{path.name}.{current.version}"))
    _copy(kept, path)
    return policy


def _kept(path: Path) -> list[int]:
    """The versions that are kept beside a policy."""
    names = (re.fullmatch(rf"{re.escape(path.name)}\.(\d+)", each.name) for each in path.parent.iterdir())
    return sorted(int(found[1]) for found in names if found)


def _copy(source: PathLike, target: Path) -> None:
    """Copies a policy with its signature; the signature first, so that no reader finds a new policy with an old one."""
    signature = signature_path(source)
    if signature.is_file():
        content = read_file(signature, "signature", private=False)
        write_atomic(signature_path(target), content, overwrite=True)
    write_atomic(target, read_file(source, "policy", private=False, max_bytes=_MAX_BYTES), overwrite=True)
