"""The ASGI application without a server; ``tests/servers`` runs it behind real ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from django.db import connections
from django.test import RequestFactory

from uploads._internal.http.deadline import declared_length
from uploads.contrib.asgi import Application, Body, environ_of

Messages = list[dict[str, Any]]


def request(*blocks: bytes) -> Messages:
    return [
        {"type": "http.request", "body": block, "more_body": number < len(blocks)}
        for number, block in enumerate(blocks, 1)
    ]


def receiving(messages: Messages) -> Callable[[], Coroutine[Any, Any, dict[str, Any]]]:
    """Return the ``receive`` of a client that is silent after its messages."""
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return receive


def served(path: str, messages: Messages, **scope: Any) -> Messages:
    """Return what the application sends; a request for Django sends its path."""
    sent: Messages = []

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def django(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "django", "path": scope["path"]})

    headers = [(b"host", b"testserver"), (b"content-type", b"application/octet-stream")]
    given = {"type": "http", "method": "POST", "path": path, "headers": headers, "query_string": b""} | scope
    application = Application(django, threads=1)
    asyncio.run(application(given, receiving(messages), send))
    application.executor.submit(_close_connections).result()
    application.executor.shutdown()
    return sent


def _close_connections() -> None:
    """Close the thread's connections; Django keeps those to databases in memory."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            connection.connection.close()


def read_all(messages: Messages, action: Callable[[Body], Any]) -> Any:
    """Run ``action`` on a body in a thread, as views do."""

    async def run() -> Any:
        body = Body(receiving(messages), asyncio.get_running_loop())
        return await asyncio.to_thread(action, body)

    return asyncio.run(run())


@pytest.mark.parametrize("path", ["/login/", "/nowhere"])
def test_other_urls_go_to_django(path: str) -> None:
    assert served(path, request(b"")) == [{"type": "django", "path": path}]


@pytest.mark.parametrize(("path", "root"), [("/tus/", ""), ("/app/tus/", "/app")])
@pytest.mark.django_db
def test_upload_urls_run_in_a_thread(path: str, root: str) -> None:
    start, *bodies = served(path, request(b"x" * 10), root_path=root)
    assert start["status"] == 401
    assert (b"cache-control", b"no-store") in start["headers"]
    assert json.loads(b"".join(message["body"] for message in bodies))["code"] == "not_authenticated"


def test_headers_cannot_be_forged_or_doubled() -> None:
    headers = [
        *((b"x_forwarded_proto", b"https"), (b"content_length", b"0"), (b"content-length", b"5")),
        *((b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"accept", b"x"), (b"accept", b"y")),
    ]
    environ = environ_of({"method": "POST", "path": "/", "headers": headers}, None)  # type: ignore[arg-type]
    assert "HTTP_X_FORWARDED_PROTO" not in environ
    assert [environ[name] for name in ("CONTENT_LENGTH", "HTTP_COOKIE", "HTTP_ACCEPT")] == ["5", "a=1; b=2", "x,y"]


def test_http2_body_needs_no_length(rf: RequestFactory) -> None:
    framed = rf.post("/")
    framed.META |= {"SERVER_PROTOCOL": "HTTP/2", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    assert declared_length(framed) is None
    framed.META["CONTENT_LENGTH"] = "7"
    assert declared_length(framed) == 7


@pytest.mark.parametrize(
    ("partial", "blocks"), [(True, [b"ab", b"c", b"de", b"", b""]), (False, [b"ab", b"cd", b"e", b"", b""])]
)
def test_body_yields_blocks_until_its_end(*, partial: bool, blocks: list[bytes]) -> None:
    """Without a deadline a read is complete, as WSGI demands; middleware reads ``request.body`` so."""

    def read(body: Body) -> list[bytes]:
        if partial:
            body.settimeout(5)
        return [body.read(2) for _ in range(5)]

    assert read_all(request(b"abc", b"", b"de"), read) == blocks
    assert read_all(request(b"abc", b"", b"de"), lambda body: body.read()) == b"abcde"


def test_disconnected_client_ends_the_read() -> None:
    messages = [*request(b"a", b"")[:1], {"type": "http.disconnect"}]
    assert read_all(messages, lambda body: body.read(1)) == b"a"
    with pytest.raises(ConnectionError):
        read_all(messages[1:], lambda body: body.read(1))


def test_silent_client_ends_the_read() -> None:
    def read(body: Body) -> bytes:
        body.settimeout(0.01)
        with pytest.raises(TimeoutError):
            body.read(1)
        assert not body.is_sending()
        body.interrupt()
        body.settimeout(None)
        with pytest.raises(TimeoutError):
            body.read(1)
        return b""

    read_all([], read)
