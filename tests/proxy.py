"""An HTTP proxy between Django and S3 that counts calls and injects faults.

A TCP relay does the same for connections of other kinds.
"""

from __future__ import annotations

import http.client
import re
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from tests.foreign import ForeignStore

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}
ERROR = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>injected</Message></Error>"


def kind_of(method: str, path: str) -> str:
    """Return the S3 operation of a request."""
    query = parse_qs(urlsplit(path).query, keep_blank_values=True)
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if "uploadId" in query:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        return names.get(method, "ListParts")
    if "delete" in query:
        return "DeleteObjects"
    if "list-type" in query or "prefix" in query:
        return "ListObjects"
    return {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}[method]


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Cut(Exception):
    """The connection to Django ends without a response."""


@dataclass
class Call:
    """A call from Django on its way to the store."""

    upstream: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def forward(self) -> Answer:
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            # The signature covers the Host header, so the proxy must not change it.
            connection.request(self.method, self.path, body=self.body, headers=self.headers)
            response = connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Cut from error
        finally:
            connection.close()


Action = Callable[[Call], Answer]


def refuse(_: Call) -> Answer:
    return Answer(503, [("Content-Type", "application/xml")], ERROR % b"SlowDown")


def cut_before(_: Call) -> Answer:
    raise Cut


def lose_answer(call: Call) -> Answer:
    call.forward()
    raise Cut


def with_code(status: int, code: str) -> Action:
    """Answer with an error of the store, without forwarding the call."""
    return lambda _: Answer(status, [("Content-Type", "application/xml")], ERROR % code.encode())


def of_a_proxy(status: int) -> Action:
    """Answer like an intermediary, without forwarding the call."""
    return lambda _: Answer(status, [("Content-Type", "text/plain")], b"%d, says a proxy" % status)


def refuses_checksums(status: int, code: str, *, reads_only: bool = False) -> Callable[[Call], Answer | None]:
    """Return the rule of a store that refuses checksum headers.

    With ``reads_only``, the store refuses only requests for stored checksums.
    """

    def rule(call: Call) -> Answer | None:
        names = {name.lower() for name in call.headers}
        writes = any(name.startswith(("x-amz-checksum-c", "x-amz-checksum-t", "x-amz-checksum-a")) for name in names)
        refused = "x-amz-checksum-mode" in names or (writes and not reads_only)
        return with_code(status, code)(call) if refused else None

    return rule


def corrupt(call: Call) -> Answer:
    call.body = bytes([call.body[0] ^ 1]) + call.body[1:]
    return call.forward()


def error_in_200(_: Call) -> Answer:
    return Answer(200, [("Content-Type", "application/xml")], ERROR % b"InternalError")


def error_in_200_after(call: Call) -> Answer:
    call.forward()
    return error_in_200(call)


def empty_etag(call: Call) -> Answer:
    answer = call.forward()
    answer.headers = [(name, value) for name, value in answer.headers if name.lower() != "etag"]
    answer.body = re.sub(rb"<ETag>.*?</ETag>", b"<ETag></ETag>", answer.body)
    return answer


def with_header(name: str, value: str | None) -> Action:
    """Change or remove a header of the response."""

    def action(call: Call) -> Answer:
        answer = call.forward()
        answer.headers = [pair for pair in answer.headers if pair[0].lower() != name.lower()]
        if value is not None:
            answer.headers.append((name, value))
        return answer

    return action


def slow(seconds: float) -> Action:
    """Forward the call at once, but delay its response."""

    def action(call: Call) -> Answer:
        answer = call.forward()
        time.sleep(seconds)
        return answer

    return action


def kill_before(kill: Callable[[], object]) -> Action:
    def action(_: Call) -> Answer:
        kill()
        raise Cut

    return action


def kill_after(kill: Callable[[], object]) -> Action:
    def action(call: Call) -> Answer:
        call.forward()
        kill()
        raise Cut

    return action


@dataclass
class Fault:
    """An action for the next calls of a kind, after ``skip`` of them."""

    kind: str
    action: Action
    times: int = 1
    skip: int = 0


@dataclass
class Faults:
    """The pending faults, and counts of the injected ones."""

    waiting: list[Fault] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    down: bool = False
    """True if the store refuses connections."""

    def next(self, kind: str) -> Action | None:
        if self.down:
            self.done["store down"] += 1
            return cut_before
        for fault in self.waiting:
            if fault.kind != kind:
                continue
            if fault.skip:
                fault.skip -= 1
                return None
            fault.times -= 1
            if not fault.times:
                self.waiting.remove(fault)
            self.done[f"{kind}: {fault.action.__qualname__.split('.')[0]}"] += 1
            return fault.action
        return None


class Proxy(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, endpoint: str) -> None:
        self.upstream = urlsplit(endpoint).netloc
        self.calls: Counter[str] = Counter()
        self.headers: list[tuple[str, dict[str, str]]] = []
        """Kind and headers of each call; header names are in lower case."""
        self.faults = Faults()
        self.rules: list[Callable[[Call], Answer | None]] = []
        """Rules of the store; each returns a refusal of the call, or None."""
        self.store: ForeignStore | None = None
        """Store whose rules apply in addition to those of the real store."""
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: tests kill the processes on the other side."""

    def inject(self, kind: str, action: Action, *, times: int = 1, skip: int = 0) -> None:
        with self.lock:
            self.faults.waiting.append(Fault(kind, action, times, skip))

    def heal(self) -> None:
        """Remove all faults."""
        with self.lock:
            self.faults.waiting.clear()
            self.faults.down = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = kind_of(self.command, self.path)
        if kind == "UploadPart" and "x-amz-copy-source" in self.headers:
            kind = "UploadPartCopy"
        with self.server.lock:
            self.server.calls[kind] += 1
            self.server.headers.append((kind, {name.lower(): value for name, value in self.headers.items()}))
            action = self.server.faults.next(kind)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
        call = Call(self.server.upstream, self.command, self.path, headers, body)
        try:
            for rule in self.server.rules:
                if refusal := rule(call):
                    self._answer(refusal)
                    return
            if self.server.store:
                self._keep_rules(self.server.store, kind, call)
            self._answer(action(call) if action else call.forward())
        except (Cut, OSError):
            self.close_connection = True
            self.connection.close()

    def _keep_rules(self, store: ForeignStore, kind: str, call: Call) -> None:
        """Apply the rules of the other store when the call arrives, which may be later."""
        forward = call.forward

        def arrive() -> Answer:
            with self.server.lock:
                refusal = store.refusal(kind, call)
            if refusal:
                return refusal
            answer = forward()
            with self.server.lock:
                store.note(kind, call, answer)
            return answer

        call.forward = arrive  # type: ignore[method-assign]

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        length = str(len(answer.body))
        for name, value in answer.headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = relay  # noqa: N815 - http.server looks these names up

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Loss:
    """Drop the response to a request that contains ``needle``, after ``skip`` others."""

    needle: bytes
    skip: int = 0
    done: threading.Event = field(default_factory=threading.Event)


@dataclass
class Trap:
    """An action that runs after ``left`` more bytes."""

    left: int
    action: Callable[[], object]
    pause: float
    done: threading.Event = field(default_factory=threading.Event)


class Wire(socketserver.ThreadingTCPServer):
    """A TCP relay before a server.

    ``cut`` ends all connections, as a restart does. ``lose`` drops a response.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.refusing = False
        self.flows = threading.Event()
        """Cleared to freeze the relay: connections stay open, but no data passes."""
        self.flows.set()
        self.losses: list[Loss] = []
        self.traps: list[Trap] = []
        self.ends: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), WireHandler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: tests break connections."""

    def lose(self, needle: bytes, *, skip: int = 0) -> Loss:
        """Drop the response to the next request with ``needle``, after ``skip`` others."""
        loss = Loss(needle, skip)
        self.losses.append(loss)
        return loss

    def loses(self, data: bytes) -> Loss | None:
        """Return the loss that ``data``, on its way to the server, triggers."""
        for loss in list(self.losses):
            if loss.needle in data:
                if not loss.skip:
                    self.losses.remove(loss)
                    return loss
                loss.skip -= 1
        return None

    def at(self, size: int, action: Callable[[], object], *, pause: float = 0) -> threading.Event:
        """Run ``action`` once after ``size`` more bytes to the server, then wait ``pause`` seconds."""
        trap = Trap(size, action, pause)
        self.traps.append(trap)
        return trap.done

    def pass_on(self, size: int) -> None:
        """Count bytes to the server, and run the actions that are due."""
        for trap in list(self.traps):
            trap.left -= size
            if trap.left <= 0 and trap in self.traps:
                self.traps.remove(trap)
                trap.done.set()
                trap.action()
                time.sleep(trap.pause)

    def cut(self, seconds: float) -> None:
        """End all connections, and refuse new ones for ``seconds``."""
        self.refusing = True
        for end in list(self.ends):
            _shut(end)
        time.sleep(seconds)
        self.refusing = False


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class WireHandler(socketserver.BaseRequestHandler):
    server: Wire

    def handle(self) -> None:
        if self.server.refusing:
            return
        with socket.create_connection(self.server.address) as far:
            ends = (self.request, far)
            self.loss: Loss | None = None
            self.server.ends.update(ends)
            back = threading.Thread(target=self._pump, args=(far, self.request), daemon=True)
            back.start()
            self._pump(self.request, far)
            back.join()
            self.server.ends.difference_update(ends)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(2**16):
                if source is self.request:
                    self.loss = self.loss or self.server.loses(data)
                    self.server.pass_on(len(data))
                elif self.loss:
                    self.loss.done.set()
                    break
                self.server.flows.wait()
                sink.sendall(data)
        except OSError:
            pass
        _shut(source)
        _shut(sink)


def proxied(endpoint: str) -> AbstractContextManager[Proxy]:
    """Run a proxy before ``endpoint``."""
    return _serving(Proxy(endpoint))


def wired(address: tuple[str, int]) -> AbstractContextManager[Wire]:
    """Run a relay before ``address``."""
    return _serving(Wire(address))


Server = TypeVar("Server", bound=socketserver.BaseServer)


@contextmanager
def _serving(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
