"""The dashboard: its page, its live updates, and the log-in where there are tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from hotfill.service.access import COOKIE, SESSION_SECONDS, Known, Principal, may_operate, may_read
from hotfill.service.models import TryIn
from hotfill.service.routes import Served, StrictJson
from hotfill.service.tokens import allows, holder_of
from hotfill.service.web.api_page import api_page
from hotfill.service.web.page import page, sections
from hotfill.service.web.search_panel import items_to_pick, search_panel
from hotfill.service.web.templates import login_page

if TYPE_CHECKING:
    from hotfill.service.access import Door

router = APIRouter(include_in_schema=False)

panel = APIRouter(include_in_schema=False, route_class=StrictJson)

_TRIED_HITS = 8
_LOOK_SECONDS = 0.2  # how soon a browser is told of a new look


@router.get("/")
def dashboard(request: Request, caller: Known, service: Served) -> HTMLResponse:
    """Show the dashboard, or ask for a token."""
    if caller is None:
        return HTMLResponse(login_page())
    return HTMLResponse(
        page(
            service.watch.refresh(),
            service.plan,
            service.rehearsed,
            may_operate=allows(caller.role, "operate"),
            has_tokens=bool(service.settings.tokens),
        )
    )


@router.get("/docs")
async def api(request: Request) -> HTMLResponse:
    """Show the description of the API, which is open to all as `/openapi.json` is."""
    return HTMLResponse(api_page(request.app.openapi(), str(request.base_url).rstrip("/")))


@router.get("/events", response_class=EventSourceResponse)
async def events(
    request: Request, caller: Annotated[Principal, Depends(may_read)], service: Served
) -> AsyncIterator[ServerSentEvent]:
    """Send the sections that changed, as long as the browser listens."""
    may_operate = allows(caller.role, "operate")
    sent: dict[str, str] = {}
    number = -1
    while not request.app.state.is_stopping():
        seen = service.watch.latest
        if seen.number != number:
            number = seen.number
            now = await run_in_threadpool(
                sections, seen, service.plan, service.rehearsed, may_operate=may_operate
            )
            changed = {name: text for name, text in now.items() if sent.get(name) != text}
            sent = now
            if changed:
                yield ServerSentEvent(raw_data=json.dumps(changed), event="sections")
        await asyncio.sleep(_LOOK_SECONDS)


@panel.post("/try", dependencies=[Depends(may_operate)])
def try_search(asked: TryIn, service: Served) -> HTMLResponse:
    """Search both sides and as callers do; for operators, because contents of items are shown."""
    return HTMLResponse(search_panel(service.up, asked.text, asked.like, _TRIED_HITS))


@panel.post("/try/items", dependencies=[Depends(may_operate)])
def items(service: Served) -> HTMLResponse:
    """Show some items to search with."""
    return HTMLResponse(items_to_pick(service.up))


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Open a session for the holder of a token."""
    door: Door = request.app.state.door
    # One short field: no need for a parser of forms.
    given = parse_qs((await request.body()).decode(errors="replace")).get("token", [""])[0]
    token = holder_of(given.strip(), door.tokens)
    if token is None:
        return HTMLResponse(login_page(failed=True), 401)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        door.sessions.begin(token),
        max_age=int(SESSION_SECONDS),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.get("/login")
@router.get("/logout")
def elsewhere() -> RedirectResponse:
    """Lead whoever loads one of these addresses again to the dashboard."""
    return RedirectResponse("/", 303)


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """Close the session."""
    door: Door = request.app.state.door
    door.sessions.end(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE)
    return answer
