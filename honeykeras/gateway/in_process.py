"""`InProcess`: artifacts in the gateway's own process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from honeykeras import manifest, saved_model
from honeykeras._files import PathLike, as_path
from honeykeras.errors import StorageError
from honeykeras.export import SealingKey
from honeykeras.gateway.backend import Answer, Backend, Model, State
from honeykeras.gateway.batcher import Batcher
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.loaded import LoadedVersion
from honeykeras.gateway.tensors import Signature


def find_models(folder: PathLike) -> dict[str, dict[int, Path]]:
    """The artifacts for a trusted host below a folder: version folders by number, by the model's name.

    Args:
        folder: A folder of models, such as `serving/`; one that has that in it, such as `honeykeras quickstart`
            leaves; or one model's folder.

    Raises:
        StorageError: If there are none.
    """
    folder = as_path(folder)
    within = folder / "serving"
    root = within if within.is_dir() else folder
    found: dict[str, dict[int, Path]] = {}
    for path in sorted([*root.glob(f"*/*/{saved_model.FILE}"), *root.glob(f"*/{saved_model.FILE}")]):
        version = path.parent
        if version.name.isdecimal() and (version / manifest.FILE).is_file():
            identity = manifest.read(version).identity
            if identity.role == manifest.ROLES[1]:
                found.setdefault(version.absolute().parent.name, {})[int(version.name)] = version
    if not found:
        raise StorageError(
            f"{folder} must hold an artifact for a trusted host, such as {folder}/mnist/1, as `honeykeras export` with "
            "`--detector` and `honeykeras quickstart` leave it. Received: none."
        )
    return found


def _numbered(versions: Mapping[str, int], labels: Mapping[str, Mapping[str, int]]) -> list[tuple[str, int]]:
    """All versions that are asked for, by number and by label, with the names of their models."""
    labelled = [(name, number) for name, numbers in labels.items() for number in numbers.values()]
    return [*versions.items(), *labelled]


class InProcess(Backend):
    """Artifacts in the gateway's own process, verified before their graphs run, and asked in batches."""

    def __init__(
        self,
        folder: PathLike,
        *,
        public_key: PathLike | None = None,
        sealing_key: SealingKey | None = None,
        unsigned: bool = False,
        versions: Mapping[str, int] | None = None,
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        """Names the artifacts; `start` loads them.

        Args:
            folder: As for `find_models`.
            public_key: File of the public key that their signatures must be by.
            sealing_key: What opens them. Without it, the key must be where they look for it.
            unsigned: Runs their graphs though nobody verified them. One that was tampered with gives the key away.
            versions: Which version of a model is served, by its name. Defaults to the greatest.
            labels: Further versions, by label, by the model's name.

        Raises:
            StorageError: If there are none, or a version is missing.
        """
        self._verified_by: dict[str, Any] = {
            "public_key": public_key, "sealing_key": sealing_key, "unsigned": unsigned
        }  # fmt: skip
        self._folder, self._found = folder, find_models(folder)
        self._served: dict[str, int] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._loaded: dict[tuple[str, int], LoadedVersion] = {}
        self._batchers: dict[tuple[str, int, str], Batcher] = {}
        # One after the other: TensorFlow shares out the cores within an operation.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._wanted = self._choose(versions or {}, labels or {})

    @property
    def models(self) -> list[str]:
        """The names of all models."""
        return sorted(self._found)

    async def start(self) -> None:
        await self._load(*self._wanted)

    async def choose(self, versions: Mapping[str, int], labels: Mapping[str, Mapping[str, int]]) -> None:
        """Serves other versions, once they are verified and loaded; what was served stays until then.

        Versions that came since are found.

        Args:
            versions: As for the constructor.
            labels: As for the constructor.

        Raises:
            HoneyKerasError: If one is missing, or not what was signed; those that are served stay.
        """
        self._found = find_models(self._folder)
        await self._load(*self._choose(versions, labels))

    def _choose(
        self, versions: Mapping[str, int], labels: Mapping[str, Mapping[str, int]]
    ) -> tuple[dict[str, int], Mapping[str, Mapping[str, int]]]:
        served = {name: versions.get(name, max(found)) for name, found in self._found.items()}
        for name, number in _numbered(versions, labels):
            if number not in self._found.get(name, {}):
                there = {name: sorted(found) for name, found in self._found.items()}
                raise StorageError(
                    f"Version {number} of {name!r} must be there to be served. Received: models with versions {there}."
                )
        return served, labels

    async def _load(self, served: dict[str, int], labels: Mapping[str, Mapping[str, int]]) -> None:
        wanted = set(_numbered(served, labels))
        loop = asyncio.get_running_loop()
        for each in sorted(wanted - self._loaded.keys()):
            self._loaded[each] = await loop.run_in_executor(self._executor, self._open, *each)
        self._served, self._labels = served, labels
        for gone in self._loaded.keys() - wanted:
            del self._loaded[gone]
            self._batchers = {key: batcher for key, batcher in self._batchers.items() if key[:2] != gone}

    def _open(self, name: str, number: int) -> LoadedVersion:
        return LoadedVersion.open(self._found[name][number], **self._verified_by)

    async def close(self) -> None:
        self._executor.shutdown(wait=True)

    def _version(self, model: Model) -> tuple[int, LoadedVersion]:
        number = model.version
        if model.label is not None:
            number = self._labels.get(model.name, {}).get(model.label)
            if number is None and model.name in self._found:
                raise RequestError("INVALID_ARGUMENT", f"Unrecognized servable version label: {model.label}")
        if number is None:
            number = self._served.get(model.name, 0)
        with contextlib.suppress(KeyError):
            return number, self._loaded[model.name, number]
        asked = f"Latest({model.name})" if model.version is None else f"Specific({model.name}, {model.version})"
        raise RequestError("NOT_FOUND", f"Servable not found for request: {asked}")

    async def signatures(self, model: Model) -> Mapping[str, Signature]:
        return self._version(model)[1].signatures

    async def run(self, model: Model, signature: str, inputs: Mapping[str, np.ndarray]) -> Answer:
        number, version = self._version(model)
        key = (model.name, number, signature)
        if key not in self._batchers:
            self._batchers[key] = Batcher(functools.partial(version.run, signature), self._executor)
        return Answer(number, await self._batchers[key](inputs))

    async def states(self, model: Model) -> list[State]:
        there = sorted(number for name, number in self._loaded if name == model.name)
        if model.version is not None or model.label is not None:
            there = [self._version(model)[0]] if there else []
        if not there:
            raise RequestError("NOT_FOUND", f"Could not find any versions of model {model.name}")
        return [State(number, "AVAILABLE") for number in reversed(there)]

    async def is_healthy(self) -> bool:
        return bool(self._served)
