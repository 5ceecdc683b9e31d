"""Runs the service in this process until it is told to stop."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import uvicorn
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hotfill.config import read
from hotfill.errors import ConfigError, HotfillError
from hotfill.service.app import create_app
from hotfill.service.gallery_service import opened
from hotfill.service.middleware import ACCESS_LOG, REQUEST_ID
from hotfill.service.settings import read_settings
from hotfill.tracing import exporting

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from hotfill.config import Project
    from hotfill.service.access import Door
    from hotfill.service.settings import ServiceSettings

_log = logging.getLogger("hotfill.service")

_GRACE_SECONDS = 10  # for requests in flight when it is told to stop
_HANDOVER_SECONDS = 0.0005  # of Python's lock between threads; by itself 5 ms, several searches
_KEPT_SECONDS = 75  # idle connections; a client that believes in a closed one sees a failure
_REQUEST_SECONDS = 30.0  # from a connection or the first byte of a request to its last byte


class PatientProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, with a limit on how long a request may take to arrive.

    Without one, connections that send nothing or a header a minute hold a descriptor each for as
    long as they like, until nobody else is answered ("slowloris").
    """

    request_seconds = _REQUEST_SECONDS
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._arrived()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Expect the rest of a request."""
        self._expect()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Take a request that is whole; the next one may take its time to begin."""
        self._arrived()
        super().on_message_complete()

    def _expect(self) -> None:
        self._arrived()
        self._deadline = self.loop.call_later(self.request_seconds, self.transport.close)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def serve(
    project: Project,
    settings: ServiceSettings,
    on_listening: Callable[[str], None] = lambda address: None,
) -> None:
    """Open the project and serve it until SIGINT or SIGTERM.

    on_listening: called with the address once connections are accepted. The log goes to stderr:
    a line of JSON for each request, and for what goes wrong. SIGHUP: read the tokens again.
    Raises ConfigError (strangers could come in, the port is taken), StoreBusyError, and what else
    opening a project raises.
    """
    settings.check()
    with (
        ExitStack() as stack,
        _listening(settings) as listener,
        _logging_to_stderr(),
        exporting(),
        opened(project, settings) as service,
    ):
        app = create_app(service, is_stopping=lambda: server.should_exit)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=PatientProtocol,
                access_log=False,
                server_header=False,
                log_level="warning",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=_KEPT_SECONDS,
            )
        )
        sys.setswitchinterval(_HANDOVER_SECONDS)
        stack.enter_context(_on_hangup(lambda: _read_tokens(app.state.door, project, settings)))
        host, port = listener.getsockname()[:2]
        on_listening(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
        server.run(sockets=[listener])


def _listening(settings: ServiceSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; name "
            "another with --port"
        ) from error


def _read_tokens(door: Door, project: Project, settings: ServiceSettings) -> None:
    """Let in whom the file names now; where it is wrong, everything stays as it is."""
    try:
        here = {"host": settings.host, "port": settings.port}  # perhaps of the command line
        door.change(read_settings(read(project.path), **here))
    except HotfillError as error:
        _log.error("the tokens stay as they were: %s", error)
    else:
        _log.info("%d tokens are let in: read again", len(door.tokens))


@contextmanager
def _on_hangup(act: Callable[[], None]) -> Iterator[None]:
    """Act at SIGHUP during the block, where there is such a signal and this thread gets it."""
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(hangup, lambda number, frame: act())
    try:
        yield
    finally:
        signal.signal(hangup, before)


class _JsonLines(logging.Formatter):
    """A line of JSON for each record, with the id of the request that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; those of the access log are JSON already."""
        message = record.getMessage()
        if record.name == ACCESS_LOG:
            return message
        line = {
            "at": round(record.created, 3),
            "request_id": REQUEST_ID.get() or None,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return to_json({name: value for name, value in line.items() if value}).decode()


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    """Log requests and what the service says at INFO, what the rest of hotfill says at WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    whole, service = logging.getLogger("hotfill"), logging.getLogger("hotfill.service")
    level = service.level
    service.setLevel(logging.INFO)
    service.addHandler(handler)
    service.propagate = False
    # With -v the command line shows the rest already.
    shown = any(type(each) is logging.StreamHandler for each in whole.handlers)
    if not shown:
        whole.addHandler(handler)
    try:
        yield
    finally:
        service.removeHandler(handler)
        whole.removeHandler(handler)
        service.propagate = True
        service.setLevel(level)
