"""Errors as problem documents (RFC 9457), or as a page where a person would read one.

They say what was wrong, never where in our code.

| status | when |
|---|---|
| 401, 403 | no token, a token of a lesser role |
| 409 | not possible now: the phase, a hold, another step, a query of another model |
| 413, 422 | what was sent is too large, or cannot be used |
| 502 | the embedder or the source failed; trying again may help |
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
from fastapi.responses import HTMLResponse, Response
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from hotfill import errors
from hotfill.service.web.templates import error_page
from hotfill.types import ModelId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request
    from starlette.types import Receive, Scope, Send

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


_NO_ROUTE = {
    404: "there is nothing at this address",
    405: "this address does not answer this method",
}


class ProblemResponse(Response):
    """A problem document; for a browser that was asked for a page, a page.

    The id of the request is added to both.
    """

    media_type = "application/problem+json"

    def __init__(self, values: Mapping[str, Any], headers: Mapping[str, str] | None) -> None:
        self._values = dict(values)
        super().__init__(b"", values["status"], headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        values = {**self._values, "request_id": scope["state"]["request_id"]}
        answer: Response
        if _wants_a_page(Headers(scope=scope)):
            answer = HTMLResponse(error_page(values), self.status_code)
        else:
            answer = Response(json.dumps(values), self.status_code, media_type=self.media_type)
        for name, value in self.headers.items():
            if name not in ("content-length", "content-type"):
                answer.headers[name] = value
        await answer(scope, receive, send)


def _wants_a_page(headers: Headers) -> bool:
    """Tell whether a person looks at it: browsers name HTML first, programs hardly ever."""
    return headers.get("accept", "").startswith("text/html")


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
    """Make a problem. values: `kind`, `detail`, and what else the error carries."""
    title = HTTPStatus(status).phrase
    return ProblemResponse({"status": status, "title": title, **values}, headers)


def install(app: FastAPI) -> None:
    """Answer errors with problems; `middleware.AccessLog` does so for those nobody foresaw."""
    app.add_exception_handler(errors.HotfillError, _on_hotfill_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_hotfill_error(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, errors.HotfillError)
    status = status_of(error)
    if status >= 500:
        # The message of an embedder may quote a text, so only the kind is logged.
        route = getattr(request.scope.get("route"), "path_format", "?")
        request_id = request.state.request_id
        _log.error("%s %s: %s in %s", request.method, route, type(error).__name__, request_id)
    return problem(status, described(error))


async def _on_invalid_request(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [
        {"where": ".".join(map(str, each["loc"])), "what": each["msg"]}
        for each in error.errors()[:20]
    ]
    detail = "; ".join(f"{each['where']}: {each['what']}" for each in wrong)
    return problem(422, {"kind": "InputError", "detail": detail, "wrong": wrong})


async def _on_http_exception(request: Request, error: Exception) -> ProblemResponse:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:  # Starlette's own
        detail = _NO_ROUTE.get(error.status_code, detail)
    values = {"kind": HTTPStatus(error.status_code).name.lower(), "detail": detail}
    return problem(error.status_code, values, error.headers)


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
