"""The errors of honeykeras.

Every error that the library raises on purpose is one of these::

    HoneyKerasError
    ├── InvalidArgumentError (ValueError)      an argument or a data set breaks a stated rule
    ├── KeyFileError                           a key file cannot be used: altered, truncated, exposed
    │   └── PassphraseError                    its passphrase is missing or wrong
    ├── ModelError (ValueError)                a model cannot be read, or does not fit key or data
    ├── DatasetError                           a named data set cannot be loaded
    ├── StorageError (OSError)                 a file or folder cannot be read or written
    ├── SecretSerializationError (TypeError)   something that holds a secret was to be serialized
    ├── LeakError                              an artifact was to be published with a secret in it
    ├── SignatureError                         an artifact is not what was signed, or in another's place
    ├── ServingError                           a model that is served does not answer
    └── MissingDependencyError (ImportError)   an optional package is needed

A message says what must hold, what was received and, where it is not plain, what to do. No message ever
carries key material, positions or pattern values.
"""

from __future__ import annotations

__all__ = [
    "DatasetError",
    "HoneyKerasError",
    "InvalidArgumentError",
    "KeyFileError",
    "LeakError",
    "MissingDependencyError",
    "ModelError",
    "PassphraseError",
    "SecretSerializationError",
    "ServingError",
    "SignatureError",
    "StorageError",
]


class HoneyKerasError(Exception):
    """Root of all errors that honeykeras raises on purpose."""


class InvalidArgumentError(HoneyKerasError, ValueError):
    """An argument, or the content of a data set, breaks a rule that the message states."""


class KeyFileError(HoneyKerasError):
    """A key file cannot be used: unreadable, exposed to others, altered, truncated or too new."""


class PassphraseError(KeyFileError):
    """The passphrase of a key file is missing or wrong."""


class ModelError(HoneyKerasError, ValueError):
    """A model cannot be read, or does not fit the key or the data it is used with."""


class DatasetError(HoneyKerasError):
    """A named data set cannot be loaded."""


class StorageError(HoneyKerasError, OSError):
    """A file or folder cannot be read or written. What was there before is still there, intact."""


class SecretSerializationError(HoneyKerasError, TypeError):
    """An object that holds a secret was to be pickled, or saved in the clear."""


class LeakError(HoneyKerasError):
    """An artifact was to be published that holds a secret, or a word that tells what it is."""


class SignatureError(HoneyKerasError):
    """An artifact is not what was signed, was signed by somebody else or nobody, or stands in another's place."""


class ServingError(HoneyKerasError):
    """A model that is served does not answer a request, or refuses it.

    Attributes:
        status: The status of HTTP, or the name of gRPC's; None where nobody answered.
    """

    def __init__(self, message: str, status: int | str | None = None) -> None:
        super().__init__(message)
        self.status = status


class MissingDependencyError(HoneyKerasError, ImportError):
    """A feature needs a package that is not installed."""


class PlantingWarning(UserWarning):
    """A training is over, and attacks draw nothing of the watermark."""
