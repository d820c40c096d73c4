"""The application that operators reach, on a port of its own: health, metrics, and the live page."""

from __future__ import annotations

import secrets
import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import fastapi
import numpy as np
import tensorflow as tf

from honeykeras._optional import templates
from honeykeras.gateway.backend import Model
from honeykeras.gateway.detections import Detection, Detections
from honeykeras.gateway.events import coarse
from honeykeras.gateway.failures import RequestError
from honeykeras.gateway.guard import Guard
from honeykeras.gateway.metrics import Metrics
from honeykeras.gateway.standing import Standing
from honeykeras.gateway.traffic import Traffic
from honeykeras.report.pictures import encode_png

# So many clients are shown.
_CLIENTS = 50


def make_app(
    guard: Guard,
    metrics: Metrics,
    traffic: Traffic,
    detections: Detections,
    *,
    models: Sequence[str] = (),
    dropped: Callable[[], int] = lambda: 0,
) -> fastapi.FastAPI:
    """Makes the application.

    Args:
        guard: Whose clients and policy are shown.
        metrics: What Prometheus collects.
        traffic: What clients send, in numbers.
        detections: What was flagged.
        models: The models that are served.
        dropped: Says how many records logs could not take.
    """
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page = templates("honeykeras.gateway", autoescape=True).get_template("page.html.jinja")

    @app.get("/")
    def show() -> fastapi.Response:
        nonce = secrets.token_urlsafe(16)
        own = f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'"
        policy = f"default-src 'none'; img-src data:; connect-src 'self'; {own}"
        return fastapi.Response(
            page.render(nonce=nonce), media_type="text/html", headers={"content-security-policy": policy}
        )

    @app.get("/state")
    async def state() -> dict[str, Any]:
        known = guard.store.known()
        shown = sorted(known, key=lambda each: (each[1].accused, each[1].last_seen), reverse=True)[:_CLIENTS]
        return {
            "time": time.time(),
            "policy": guard.policy.model_dump(exclude={"clients": {"keys"}}),
            "clients": [_client(name, standing) for name, standing in shown],
            "clients_known": len(known),
            "accused": sum(standing.accused for _, standing in known),
            "traffic": traffic.summary(guard.policy.max_fpr),
            "detections": [_detection(each) for each in detections.latest],
            "models": {name: await _states(guard, name) for name in models},
            "healthy": await _parts(guard),
            "under_way": guard.under_way,
            "dropped": dropped(),
        }

    @app.get("/metrics")
    async def collect() -> fastapi.Response:
        metrics.now(await _parts(guard), guard.under_way, dropped())
        return fastapi.Response(metrics.text(), media_type=metrics.content_type)

    @app.get("/v2/health/live")
    def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready(response: fastapi.Response) -> dict[str, bool]:
        is_ready = all((await _parts(guard)).values())
        response.status_code = 200 if is_ready else 503
        return {"ready": is_ready}

    @app.post("/clients/{name:path}/forget")
    async def forget(name: str, request: fastapi.Request) -> dict[str, bool]:
        """Lets a client begin anew that was accused wrongly."""
        origin = request.headers.get("origin")
        # An operator's browser sends what any page asks it to, and says which page it was.
        if origin is not None and urllib.parse.urlsplit(origin).netloc != request.headers.get("host"):
            raise fastapi.HTTPException(403, "Only this page may ask for that.")
        return {"known": await guard.store.forget(name)}

    return app


async def _states(guard: Guard, name: str) -> list[dict[str, Any]]:
    try:
        return [each._asdict() for each in await guard.states(Model(name))]
    except RequestError as error:
        return [{"version": 0, "state": "UNKNOWN", "code": error.code, "message": error.message}]


async def _parts(guard: Guard) -> dict[str, bool]:
    return {"model": await guard.backend.is_healthy(), "store": await guard.store.is_healthy()}


def _client(name: str, standing: Standing) -> dict[str, Any]:
    evidence = standing.evidence
    return {
        "name": name,
        "queries": standing.queries,
        "flags": standing.flags,
        "first_seen": standing.first_seen,
        "last_seen": standing.last_seen,
        "accused_at": standing.accused_at or None,
        "accused_by": None if evidence is None else evidence.accused_by,
        "banned_until": standing.banned_until or None,
        "evidence": None if evidence is None else coarse(evidence.statistic),
        "bound": None if evidence is None else coarse(evidence.bound),
        "moments": [
            [when, queries, coarse(statistic), coarse(bound)] for when, queries, statistic, bound in standing.moments
        ],
    }


def _detection(detection: Detection) -> dict[str, Any]:
    return {
        "time": detection.time,
        "client": detection.client,
        "model": detection.model,
        "action": detection.action,
        "request": detection.request,
        "image": _image(detection.value),
    }


def _image(value: np.ndarray | bytes) -> str | None:
    """An input as a PNG file in base64, its least value black and its greatest white; None if it is no image."""
    try:
        pixels = tf.io.decode_image(value, expand_animations=False).numpy() if isinstance(value, bytes) else value
    except tf.errors.OpError:
        return None
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        return None
    image = np.nan_to_num(pixels.astype(np.float32))
    low, high = float(image.min()), float(image.max())
    return encode_png((image - low) / max(high - low, 1e-9))
