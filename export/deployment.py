"""`write_kit`: what a guarded service is run with, from a compose file to manifests for Kubernetes and KServe."""

from __future__ import annotations

import json
import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Any

from honeykeras import _checks, manifest
from honeykeras._files import PathLike, staged
from honeykeras._optional import templates
from honeykeras.errors import InvalidArgumentError

# What Kubernetes mounts: the server, the gateway, Prometheus and Grafana.
_SERVER = ("models.config", "monitoring.config", "session.config", "probe.sh", "verify.sh")
_CONFIG = (*_SERVER, "policy.toml", "prometheus.yaml", "grafana.yaml", "dashboards.yaml")
_AS_THEY_ARE = ("alerts.yaml", "dashboard.json")
KIT = (
    "README.md",
    "compose.yaml",
    "gateway.Dockerfile",
    "kserve.yaml",
    "kubernetes.yaml",
    "kubernetes-gateway.yaml",
    "kubernetes-gpu.yaml",
    "kubernetes-monitoring.yaml",
    *_CONFIG,
    *_AS_THEY_ARE,
)
"""The files of a kit."""

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

_REDIS_IMAGE = "redis:7.4-bookworm"
_PROMETHEUS_IMAGE = "prom/prometheus:v3.5.0"
_GRAFANA_IMAGE = "grafana/grafana:12.1.0"
# Whoever was not seen for longest is forgotten first. What is written down survives a restart.
_REDIS_WORDS = ("--maxmemory", "2gb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes", "--save", "")

_KEY_ID = re.compile("[0-9a-f]{16}")
# A name of Kubernetes, which is part of other names there.
_IMAGE = re.compile(r"[a-z0-9][a-zA-Z0-9._/:-]{0,200}")
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
    gateway_image: str = "honeykeras-gateway:latest",
    overwrite: bool = False,
) -> None:
    """Writes a folder with all that a guarded service is run with: an unmodified TensorFlow Serving behind gateways.

    A compose file, manifests for Kubernetes and KServe, what the server, the gateway, Redis, Prometheus and Grafana
    read, the scripts that verify versions and tell whether the server answers and the model is available, and a README.
    What servers read tells nobody what the model is.

    Args:
        output: The folder to make.
        name: What the server calls the model, and Kubernetes what belongs to it: lower-case letters, digits, hyphens.
        base_path: The model's folder, which holds the versions. They must have been exported under its name.
        key_id: Id of the sealing key that opens the versions, `SealingKey.key_id`. Others are not served.
        batching: Whether the server puts requests of several clients together. It is for a server behind a front that
            checks requests: an empty batch is never answered, and a malformed request fails its neighbours.
        replicas: How many servers, and gateways, Kubernetes runs, at least; four times as many at most.
        image_version: Tag of the image `tensorflow/serving`.
        gateway_image: What the gateway's image is called, which `gateway.Dockerfile` makes, with its registry and tag.
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
    if not isinstance(gateway_image, str) or not _IMAGE.fullmatch(gateway_image):
        raise InvalidArgumentError(
            f"`gateway_image` must name an image, as registry/name:tag. Received: gateway_image={gateway_image!r}."
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
        "gateway_image": gateway_image,
        "gateway_words": _gateway_words(name, f"{name}-server:8500"),
        # As KServe calls the predictor's service.
        "kserve_words": _gateway_words(name, f"{name}-predictor:8500"),
        "gateway_host": f"{name}-gateway-private",
        "server_host": f"{name}-server",
        "redis_host": f"{name}-redis",
        "prometheus_host": f"{name}-prometheus",
        "redis_image": _REDIS_IMAGE,
        "redis_words": list(_REDIS_WORDS),
        "prometheus_image": _PROMETHEUS_IMAGE,
        "grafana_image": _GRAFANA_IMAGE,
    }
    environment = templates("honeykeras.export", "deploy", keep_trailing_newline=True, lstrip_blocks=True)

    def render(file: str, **more: Any) -> str:
        return environment.get_template(f"{file}.jinja").render(**values, **more)

    config = {file: render(file) for file in _CONFIG}
    raw = resources.files("honeykeras.export") / "deploy"
    config |= {file: (raw / file).read_text(encoding="utf-8") for file in _AS_THEY_ARE}
    with staged(output, overwrite=overwrite, holds=KIT) as kit:
        kit.mkdir()
        for file in KIT:
            content = config.get(file) or render(
                file.replace("-gpu", ""),
                config=config,
                server_config={name: config[name] for name in _SERVER},
                gpu=file == "kubernetes-gpu.yaml",
            )
            (kit / file).write_text(content, encoding="utf-8")


def _gateway_words(name: str, upstream: str) -> list[str]:
    """What the gateway is called with, in a container."""
    return [
        f"--upstream={upstream}",
        f"--model={name}",
        "--host=0.0.0.0",
        "--port=8501",
        # A port of its own, which network policies keep from clients.
        "--private-host=0.0.0.0",
        "--private-port=8502",
        f"--redis=redis://{name}-redis:6379/0",
        "--secret=/run/secrets/gateway.secret",
        "--policy=/config/policy.toml",
        "--logs=/logs",
    ]
