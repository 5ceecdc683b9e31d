"""Errors as problem documents (RFC 9457): what was wrong, never where in our code.

| status | when |
|---|---|
| 401, 403, 429 | no token, a token of a lesser role, too many calls |
| 409 | not possible now: the phase, a hold, another step, a query of another model |
| 413, 422 | what was sent is too large, or cannot be used as it is |
| 502 | the embedder or the source failed; again may help |
| 503, 507 | the store or the journal cannot be used, or its disk is full |
| 500 | the configuration is wrong, or nobody foresaw this |
"""

from __future__ import annotations

import json
import logging
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from hotfill import errors
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

_log = logging.getLogger("hotfill.service")

# Of an error's class and its bases the nearest one listed counts.
STATUS_OF: dict[type[errors.HotfillError], int] = {
    errors.InputError: 422,
    errors.ModelMismatchError: 409,
    errors.ConfigError: 500,
    errors.MissingExtraError: 500,
    errors.EmbedError: 502,
    errors.SourceError: 502,
    errors.StoreError: 503,
    errors.StoreFullError: 507,
    errors.JournalError: 503,
    errors.UpgradeBusyError: 409,
    errors.PhaseError: 409,
    errors.HeldError: 409,
    errors.PlanError: 409,
    errors.HotfillError: 500,
}

ANSWERED = (errors.HotfillError, RequestValidationError, HTTPException)
"""What becomes a problem document."""


class ProblemResponse(Response):
    """A problem document."""

    media_type = "application/problem+json"


def status_of(error: errors.HotfillError) -> int:
    """Return the HTTP status for an error."""
    if isinstance(error, errors.EmbedError) and not error.retryable:
        return 422  # the contents are at fault, and will be again
    return next(STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF)


def described(error: errors.HotfillError) -> dict[str, Any]:
    """Return an error as plain values: its kind, its message, and what it carries."""
    return {
        "kind": type(error).__name__,
        "detail": str(error),
        **{name: value for name, value in map(_plain, vars(error).items()) if value is not None},
    }


def problem(
    status: int, values: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> ProblemResponse:
    """Make a problem document."""
    body = {"status": status, "title": HTTPStatus(status).phrase, **values}
    return ProblemResponse(json.dumps(body), status, dict(headers or {}))


def install(app: FastAPI) -> None:
    """Answer errors with problem documents; `access_log` does so for those nobody foresaw."""
    for kind in ANSWERED:
        app.add_exception_handler(kind, _on_error)


def answer_of(error: Exception, method: str, route: str) -> ProblemResponse:
    """Answer one of the errors that `install` is for."""
    if isinstance(error, errors.HotfillError):
        status = status_of(error)
        if status >= 500:
            # The message of an embedder may quote a text, so only the kind is logged.
            _log.error("%s %s: %s", method, route, type(error).__name__)
        return problem(status, described(error))
    if isinstance(error, RequestValidationError):
        wrong = [
            {"where": ".".join(map(str, each["loc"])), "what": each["msg"]}
            for each in error.errors()[:20]
        ]
        detail = "; ".join(f"{each['where']}: {each['what']}" for each in wrong)
        return problem(422, {"kind": "InputError", "detail": detail, "wrong": wrong})
    assert isinstance(error, HTTPException)  # the last of ANSWERED
    values = {"kind": HTTPStatus(error.status_code).name.lower(), "detail": error.detail}
    return problem(error.status_code, values, error.headers)


async def _on_error(request: Request, error: Exception) -> ProblemResponse:
    route = str(getattr(request.scope.get("route"), "path_format", "?"))
    return answer_of(error, request.method, route)


def _plain(attribute: tuple[str, Any]) -> tuple[str, Any]:
    """Keep what JSON can say; the rest becomes None and is left out."""
    name, value = attribute
    if isinstance(value, ModelId):
        return name, {**value.to_dict(), "fingerprint": value.fingerprint}
    if isinstance(value, tuple):
        return name, list(value)
    if isinstance(value, float) and not math.isfinite(value):
        return name, None
    return name, value if isinstance(value, str | int | float | bool) else None
