"""The server closes connections whose request does not arrive."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from hotfill.service.server import PatientProtocol

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(seconds):
    class Impatient(PatientProtocol):
        request_seconds = seconds

    config = uvicorn.Config(echo, port=0, http=Impatient, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    "sent",
    [b"", REQUEST[:10], REQUEST[:-10], REQUEST[:-1], REQUEST + REQUEST[:-1]],
    ids=["nothing", "half a line", "half of the headers", "half of the body", "half of a second"],
)
def test_a_request_that_does_not_arrive_is_not_waited_for(sent):
    with serving(0.2) as address, socket.create_connection(address, timeout=30) as client:
        client.sendall(sent)
        received = b""
        while part := client.recv(1000):
            received += part
        assert received.count(b"200 OK") == (1 if len(sent) > len(REQUEST) else 0)


def test_a_connection_that_has_asked_once_may_rest():
    with serving(0.2) as address, socket.create_connection(address, timeout=30) as client:
        for _ in range(2):
            client.sendall(REQUEST)
            received = b""
            while not received.endswith(b"ok"):
                received += client.recv(1000)
            time.sleep(0.5)
