"""`write_kit`: what TensorFlow Serving is run with, from a compose file to Kubernetes manifests."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from honeykeras import _checks, manifest
from honeykeras._files import PathLike, staged
from honeykeras._optional import templates
from honeykeras.errors import InvalidArgumentError

KIT = (
    "README.md",
    "compose.yaml",
    "kubernetes.yaml",
    "kubernetes-gpu.yaml",
    "models.config",
    "monitoring.config",
    "session.config",
    "probe.sh",
    "verify.sh",
)
"""The files of a kit."""

# What Kubernetes mounts as one folder.
_CONFIG = ("models.config", "monitoring.config", "session.config", "probe.sh", "verify.sh")

_FLAGS = (
    "--port=8500",
    "--rest_api_port=8501",
    "--model_config_file=/config/models.config",
    "--monitoring_config_file=/config/monitoring.config",
    # What comes later was not verified.
    "--file_system_poll_wait_seconds=0",
    # A key that is wrong stays wrong.
    "--max_num_load_retries=0",
    "--allow_version_labels_for_unavailable_models=true",
    "--enable_profiler=false",
)
# An empty batch is never answered then, and one client's mistake is another's error: see the kit's README.
_BATCHING_FLAGS = ("--enable_batching=true", "--enable_per_model_batching_parameters=true")
_GPU_FLAGS = ("--tensorflow_session_config_file=/config/session.config", "--per_process_gpu_memory_fraction=0.9")

_IMAGE_VERSION = "2.19.1"
_VERIFIER_IMAGE = "ghcr.io/sigstore/model-transparency-cli:v1.1.1"

_KEY_ID = re.compile("[0-9a-f]{16}")
# A name of Kubernetes, which is part of other names there.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")


def write_kit(
    output: PathLike,
    *,
    name: str,
    base_path: PathLike,
    key_id: str,
    batching: bool = False,
    replicas: int = 2,
    image_version: str = _IMAGE_VERSION,
    overwrite: bool = False,
) -> None:
    """Writes a folder with all that an unmodified TensorFlow Serving is run with, on CPUs or GPUs.

    A compose file, Kubernetes manifests, the server's configuration, the scripts that verify versions and tell whether
    the server answers and the model is available, and a README. What servers read tells nobody what the model is.

    Args:
        output: The folder to make.
        name: What the server calls the model, and Kubernetes what belongs to it: lower-case letters, digits, hyphens.
        base_path: The model's folder, which holds the versions. They must have been exported under its name.
        key_id: Id of the sealing key that opens the versions, `SealingKey.key_id`. Others are not served.
        batching: Whether the server puts requests of several clients together. It is for a server behind a front that
            checks requests: an empty batch is never answered, and a malformed request fails its neighbours.
        replicas: How many servers Kubernetes runs, at least; four times as many at most.
        image_version: Tag of the image `tensorflow/serving`.
        overwrite: Whether a kit that is there may be replaced.

    Raises:
        InvalidArgumentError: If an argument breaks a rule.
        MissingDependencyError: If Jinja2 is not installed.
        StorageError: If there is something at `output` already, or the disk refuses.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            "`name` must be lower-case letters, digits and hyphens, begin with a letter, and have at most 42 of them. "
            f"Received: name={name!r}."
        )
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*(-[a-z0-9]+)?", image_version) or image_version.endswith("-gpu"):
        raise InvalidArgumentError(
            f"`image_version` must be a version such as {_IMAGE_VERSION}. Received: image_version={image_version!r}."
        )
    folder = Path(base_path).absolute()
    if ":" in str(folder):
        raise InvalidArgumentError(f"`base_path` must have no colon, which ends a mount. Received: {folder}.")
    if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
        raise InvalidArgumentError(
            f"`key_id` must be that of a sealing key, 16 hexadecimal digits. Received: key_id={key_id!r}."
        )
    flags = [*_FLAGS, *(_BATCHING_FLAGS if _checks.flag("batching", batching) else ())]
    # As lines of a manifest, which a shell can compare.
    identity = {"key_id": key_id, "name": folder.name, "role": manifest.ROLES[1]}
    values: dict[str, Any] = {
        "name": name,
        "folder": str(base_path),
        "base_path": f"{folder}:/models/{name}:ro",
        "replicas": _checks.whole_number("replicas", replicas),
        "image_version": image_version,
        "verifier_image": _VERIFIER_IMAGE,
        "flags": flags,
        "batching": batching,
        "identity": [shlex.quote(f' "{name}": {json.dumps(value)},') for name, value in identity.items()],
        "gpu_flags": list(_GPU_FLAGS),
    }
    environment = templates("honeykeras.export", "deploy", keep_trailing_newline=True, lstrip_blocks=True)

    def render(file: str, **more: Any) -> str:
        return environment.get_template(f"{file}.jinja").render(**values, **more)

    config = {file: render(file) for file in _CONFIG}
    with staged(output, overwrite=overwrite, holds=KIT) as kit:
        kit.mkdir()
        for file in KIT:
            content = render(file.replace("-gpu", ""), config=config, gpu=file == "kubernetes-gpu.yaml")
            (kit / file).write_text(content, encoding="utf-8")
