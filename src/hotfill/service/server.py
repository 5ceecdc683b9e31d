"""Runs the service in this process until it is told to stop."""

from __future__ import annotations

import logging
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from hotfill.errors import ConfigError
from hotfill.service.app import create_app
from hotfill.service.gallery_service import opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hotfill.config import Project
    from hotfill.service.settings import ServiceSettings

_GRACE_SECONDS = 10  # for requests in flight when it is told to stop
_HANDOVER_SECONDS = 0.0005  # of Python's lock between threads; by itself 5 ms, several searches
_KEPT_SECONDS = 75  # idle connections; a client that believes in a closed one sees a failure


def serve(
    project: Project,
    settings: ServiceSettings,
    on_listening: Callable[[str], None] = lambda address: None,
) -> None:
    """Open the project and serve it until SIGINT or SIGTERM.

    on_listening: called with the address once connections are accepted. The log goes to stderr:
    a line of JSON for each request, and what goes wrong.
    Raises ConfigError (strangers could come in, the port is taken), StoreBusyError, and what else
    opening a project raises.
    """
    settings.check()
    with (
        _listening(settings) as listener,
        _logging_to_stderr(),
        opened(project, settings) as service,
    ):
        app = create_app(service, is_stopping=lambda: server.should_exit)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,
                server_header=False,
                log_level="warning",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                timeout_keep_alive=_KEPT_SECONDS,
            )
        )
        sys.setswitchinterval(_HANDOVER_SECONDS)
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


@contextmanager
def _logging_to_stderr() -> Iterator[None]:
    logger = logging.getLogger("hotfill.service")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
