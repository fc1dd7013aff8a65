"""Serve upload URLs under an ASGI server without writing bodies to disk.

Replace Django's application in ``asgi.py``::

    from uploads.contrib.asgi import get_asgi_application

    application = get_asgi_application()

Django's own ASGI handler writes each body to a temporary file before a view sees it. Requests to upload URLs run in a
thread instead, with a body that is pulled from the server as it is read. Django handles all other requests.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from threading import Lock
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application as get_django_application
from django.core.handlers.wsgi import WSGIHandler
from django.urls import Resolver404, get_script_prefix, resolve, set_script_prefix

from uploads._internal import conf
from uploads._internal.http.deadline import ASGI_BODY

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
THREADS = 32
"""Requests to upload URLs that a process handles at a time; the others wait."""


def get_asgi_application(threads: int = THREADS) -> Application:
    """Return an ASGI application for the portal with threads for upload URLs."""
    return Application(get_django_application(), threads)


class Application:
    """Dispatch upload URLs to threads, and all other requests to Django."""

    def __init__(self, django: Callable[..., Awaitable[Any]], threads: int) -> None:
        self._django = django
        self._wsgi = WSGIHandler()
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="uploads-asgi")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_upload(scope):
            await self._django(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        body = Body(receive, loop)
        exchange = Exchange(send, loop)
        try:
            await loop.run_in_executor(self.executor, exchange.run, self._wsgi, environ_of(scope, body))
        finally:
            body.interrupt()


def is_upload(scope: Message) -> bool:
    """Return True if the URL's view is one of this app's."""
    from uploads._internal.http.views import UploadView  # needs the apps, which Django's application has set up

    prefix = get_script_prefix()
    set_script_prefix(f"{_prefix(scope)}/")
    try:
        function: Any = resolve(_path(scope)).func
    except Resolver404:
        return False
    finally:
        set_script_prefix(prefix)
    return issubclass(getattr(function, "cls", object), UploadView)


def environ_of(scope: Message, body: Body) -> dict[str, Any]:
    """Return the WSGI environment of a request (PEP 3333)."""
    server = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _latin1(_prefix(scope)),
        "PATH_INFO": _latin1(_path(scope)),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1] or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1] or ""),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        ASGI_BODY: body,
    }
    for name, value in scope["headers"]:
        if b"_" in name:  # Such a name could stand for a header that a proxy sets.
            continue
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        if key in environ and key != "CONTENT_LENGTH":
            text = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{text}"
        environ[key] = text
    return environ


class Body(io.RawIOBase):
    """The body of a request, as a thread reads it.

    Each read pulls from the server, which reads no further until the next one.
    """

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop) -> None:
        self._receive, self._loop = receive, loop
        self._next: Future[Message] | None = None
        self._interrupted: Future[None] = Future()
        self._lock = Lock()
        self._block = b""
        self._ended = False
        self._timeout: float | None = conf.current().READ_TIMEOUT.total_seconds()
        self._partial = False
        self._received_at = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes, or fewer at the end; -1 means all.

        Once a timeout is set, return up to ``size`` bytes as soon as there are some. Raises TimeoutError if the client
        is silent for longer than the timeout, and ConnectionError if it is gone.
        """
        read = self._some(size)
        while not self._partial and len(read) != size and (block := self._some(size - len(read) if size >= 0 else -1)):
            read += block
        return read

    def _some(self, size: int) -> bytes:
        while not self._block and not self._ended:
            self._pull()
        end = len(self._block) if size < 0 else size
        block, self._block = self._block[:end], self._block[end:]
        return block

    def _pull(self) -> None:
        if self._interrupted.done():
            stopped = "The reading was stopped."
            raise TimeoutError(stopped)
        if self._next is None:
            self._next = asyncio.run_coroutine_threadsafe(_awaited(self._receive), self._loop)
        futures: list[Future[Any]] = [self._next, self._interrupted]
        done = wait(futures, self._timeout, FIRST_COMPLETED).done
        if self._interrupted in done or not done:
            silent = "The client is silent."
            raise TimeoutError(silent)
        message, self._next = self._next.result(), None
        if message["type"] == "http.disconnect":
            gone = "The client is gone."
            raise ConnectionError(gone)
        self._received_at = time.monotonic()
        self._block = message.get("body", b"")
        self._ended = not message.get("more_body", False)

    def is_sending(self) -> bool:
        return time.monotonic() - self._received_at < 1

    def gettimeout(self) -> float | None:
        return self._timeout

    def settimeout(self, seconds: float | None) -> None:
        self._timeout, self._partial = seconds, True

    def interrupt(self) -> None:
        """End a read in another thread, and all later ones."""
        with self._lock:
            if not self._interrupted.done():
                self._interrupted.set_result(None)
        if (pending := self._next) is not None:
            pending.cancel()


async def _awaited(receive: Receive) -> Message:
    return await receive()


class Exchange:
    """Run a WSGI application in a thread, and send its response."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self._send, self._loop = send, loop
        self._start: Message = {}

    def run(self, application: Any, environ: dict[str, Any]) -> None:
        """Answer a request; do nothing more if its client no longer takes the response."""
        response = application(environ, self._start_response)
        with closing(response), suppress(ConnectionError):
            self._send_message(self._start)
            for block in response:
                self._send_message({"type": "http.response.body", "body": bytes(block), "more_body": True})
            self._send_message({"type": "http.response.body", "body": b""})

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        # Django puts a space before the value of Set-Cookie.
        encoded = [(name.lower().encode("latin-1"), value.strip().encode("latin-1")) for name, value in headers]
        self._start = {"type": "http.response.start", "status": int(status.split(" ", 1)[0]), "headers": encoded}

    def _send_message(self, message: Message) -> None:
        if not self._loop.is_running():  # The server has stopped.
            raise ConnectionError
        future = asyncio.run_coroutine_threadsafe(_sent(self._send, message), self._loop)
        try:
            future.result(conf.current().READ_TIMEOUT.total_seconds())
        except (TimeoutError, CancelledError) as error:
            future.cancel()
            raise ConnectionError from error


async def _sent(send: Send, message: Message) -> None:
    await send(message)


def _path(scope: Message) -> str:
    """Return the path below the prefix of the application (ASGI: ``path`` contains ``root_path``)."""
    prefix, path = _prefix(scope), str(scope["path"])
    return path[len(prefix) :] if prefix and path.startswith(f"{prefix}/") else path


def _prefix(scope: Message) -> str:
    return str(settings.FORCE_SCRIPT_NAME or scope.get("root_path", "")).rstrip("/")


def _latin1(text: str) -> str:
    return text.encode().decode("latin-1")
