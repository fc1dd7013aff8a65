"""Replay each client's requests byte for byte over a raw socket.

The rows follow the observed traffic of the clients: bodies, spellings, headers and order. Each row also names the
response field that its client reads.
"""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import random
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.data import MIB, sha256, some_bytes
from tests.e2e.conftest import Demo

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
Answer = tuple[int, dict[str, str], Any]


@dataclass(frozen=True)
class Client:
    name: str
    create: str
    """Body of create_session, JSON or a form; %(name)s and %(size)d are filled in."""
    auth: str = "Token %s"
    path: str = "upload/create_session"
    part: str = 'name="file"; filename="blob"\r\nContent-Type: application/octet-stream'
    headers: tuple[str, ...] = ()
    """Headers of each chunk; %(first)d, %(last)d, %(size)d and %(name)s are filled in."""
    chunk_size: int = 10 * MIB
    total: int = 21 * MIB + 17
    location: str = "%(location)s"
    """URL of the chunks: the location, or a URL that the client builds."""
    encoding: str = "length"
    boundary_in_type: bool = True
    end: str = "\r\n"
    numbered: bool = False
    lenient: bool = False
    """True if the client needs a portal with a lower minimum chunk size."""
    reads: Callable[[Any], bool] = field(default=lambda body: body["response"]["data"]["location"])
    """Returns the field of the create_session response that the client reads."""


JSON_LOWER = (
    '{"fileName":"%(name)s","fileSize":%(size)d,"relativePath":"","encrypted":false,'
    '"createOn":"2026-01-02T03:04:05.678Z","CreateNewIfExist":true}'
)
JSON_PASCAL = (
    '{"FileName":"%(name)s","FileSize":"%(size)d","folderId":1,"RelativePath":"",'
    '"CreateOn":"2026-01-02T03-04-05.678Z","Encrypted":false}'
)
FORM = "fileName=%(name)s&fileSize=%(size)d&relativePath="
NAMED = 'name="file"; filename="%(name)s"'
ASHX = "%(origin)s/ChunkedUploader.ashx?uid=%(id)s"
RANGE = "Content-Range: bytes %(first)d-%(last)d/%(size)d"

CLIENTS = [
    Client("DocSpace web client", JSON_LOWER, numbered=True),
    Client("DocSpace web client, string folder", JSON_LOWER),
    Client("AppServer web client", JSON_LOWER, path="upload/create_session.json", chunk_size=1_047_552, lenient=True),
    Client(
        "older web client (blueimp)",
        FORM,
        path="upload/create_session.json",
        part='name="files[]"; filename="%(name)s"\r\nContent-Type: application/pdf',
        headers=(RANGE, 'Content-Disposition: attachment; filename="%(name)s"', "X-Requested-With: XMLHttpRequest"),
        reads=lambda body: body["response"]["success"] and body["response"]["data"]["path"],
    ),
    Client("older web client, one chunk", FORM, total=1000, part='name="files[]"; filename="a"'),
    Client(
        "WebDAV server of DocSpace",
        JSON_LOWER,
        auth="%s",
        part='name="files[]"; filename="chunk%(index)d"\r\nContent-Type: application/octet-stream',
        headers=(RANGE, "ContentType: multipart/form-data"),
        encoding="chunked",
    ),
    Client(
        "WebDAV server of CommunityServer",
        JSON_LOWER,
        auth="%s",
        part='name="files[]"; filename="chunk%(index)d"',
        headers=(RANGE, "Connection: close"),
    ),
    Client("plugins, whole file in one chunk", JSON_LOWER, chunk_size=10**9),
    Client(
        "docspace-mcp",
        JSON_LOWER,
        auth="Bearer %s",
        location=ASHX,
        part='name="file"; filename="blob"\r\nContent-Type: text/plain',
        reads=lambda body: body["status"] == 0 and body["response"]["success"] and body["response"]["data"]["id"],
    ),
    Client("n8n", JSON_LOWER, auth="Bearer %s", location=ASHX, part=NAMED + "\r\nContent-Type: a/b"),
    Client(
        "Zapier",
        JSON_PASCAL,
        auth="Bearer %s",
        location=ASHX,
        part=NAMED,
        reads=lambda body: body["status"] == 0 and (body["response"].get("data") or body["data"])["id"],
    ),
    Client("Langflow", JSON_PASCAL, auth="%s", location=ASHX, end=""),
    Client(
        "UI kit",
        JSON_LOWER,
        path="session",
        chunk_size=5 * MIB,
        numbered=True,
        lenient=True,
        reads=lambda body: body["response"]["id"],
    ),
    Client(
        "sample of the documentation",
        JSON_PASCAL,
        chunk_size=1_047_552,
        total=3_000_000,
        lenient=True,
        reads=lambda body: body["data"]["location"],
    ),
    Client("a program with a raw body", JSON_LOWER, part="", auth="Basic %(basic)s"),
    Client("a program with a raw body of unknown length", JSON_LOWER, part="", encoding="chunked"),
]


def exchange(url: str, method: str, headers: list[str], body: bytes | Iterator[bytes]) -> Answer:
    """Send one request verbatim and read the response."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=60) as connection:
        head = [f"{method} {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}", *headers]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        for block in [body] if isinstance(body, bytes) else body:
            connection.sendall(block)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        data = response.read()
        assert response.headers["Content-Type"] == "application/json"
        return response.status, dict(response.headers), json.loads(data)


class Replay:
    """One upload by one client."""

    numbers = itertools.count()

    def __init__(self, client: Client, demo: Demo) -> None:
        self.client = client
        self.demo = demo
        self.data = some_bytes(client.total, seed=len(client.name))
        self.name = re.sub(r"[^\w]+", "-", client.name) + f"-{next(Replay.numbers)}.pdf"
        words = {"basic": base64.b64encode(b"demo:demo").decode()}
        auth = client.auth % words if "basic" in client.auth else client.auth % demo.token
        self.auth = f"Authorization: {auth}"
        self.session: Any = None

    def create(self) -> None:
        body = (self.client.create % {"name": self.name, "size": len(self.data)}).encode()
        kind = "application/json;charset=utf-8" if body.startswith(b"{") else "application/x-www-form-urlencoded"
        headers = [self.auth, f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
        url = f"{self.demo.url}/api/2.0/files/1/{self.client.path}"
        status, _, answer = exchange(url, "POST", headers, body)
        assert status == 200, answer
        assert self.client.reads(answer)
        response = answer["response"]
        self.session = response.get("data") or response

    @property
    def location(self) -> str:
        return self.client.location % {"origin": self.demo.url, **self.session}

    def chunks(self) -> list[tuple[int, int, bytes]]:
        """Return the number, the offset and the bytes of each chunk."""
        size = self.client.chunk_size
        starts = range(0, len(self.data), size)
        return [(number, start, self.data[start : start + size]) for number, start in enumerate(starts, 1)]

    def send(self, number: int, first: int, data: bytes, query: str = "") -> Answer:
        words = {
            "name": self.name,
            "index": number,
            "size": len(self.data),
            "first": first,
            "last": first + len(data) - 1,
        }
        headers = [self.auth, *(header % words for header in self.client.headers)]
        body = data
        if self.client.part:
            head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {self.client.part % words}\r\n\r\n"
            body = head.encode() + data + f"\r\n--{BOUNDARY}--{self.client.end}".encode()
            headers.append(f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
        if self.client.encoding == "length":
            return exchange(self.location + query, "POST", [*headers, f"Content-Length: {len(body)}"], body)
        return exchange(self.location + query, "POST", [*headers, "Transfer-Encoding: chunked"], framed(body))

    def in_order(self) -> Any:
        *others, last = self.chunks()
        for chunk in others:
            status, _, answer = self.send(*chunk)
            assert (status, answer["success"], answer["message"]) == (200, True, "")
            assert not answer["data"].get("uploaded")
        status, _, answer = self.send(*last)
        assert (status, answer["success"]) == (201, True), answer
        return answer["data"]

    def in_parallel(self) -> Any:
        chunks = self.chunks()
        random.Random(7).shuffle(chunks)
        with ThreadPoolExecutor(3) as pool:
            numbered = [(*chunk, f"&chunkNumber={chunk[0]}&upload=true") for chunk in chunks]
            answers = pool.map(lambda sent: self.send(*sent), numbered)
            for status, _, answer in answers:
                assert (status, bool(answer["data"].get("uploaded"))) == (200, False), answer
        headers = [self.auth, "Content-Length: 0"]
        status, _, answer = exchange(f"{self.location}&finalize=true", "POST", headers, b"")
        assert status == 201, answer
        return answer["data"]


def framed(body: bytes) -> Iterator[bytes]:
    """Yield the body in chunked encoding, in blocks of varying sizes."""
    sizes = random.Random(3)
    start = 0
    while start < len(body):
        fragment = body[start : start + sizes.choice([1, 1000, 65536, 300_000])]
        start += len(fragment)
        yield f"{len(fragment):x}\r\n".encode() + fragment + b"\r\n"
    yield b"0\r\n\r\n"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_replayed_client_uploads_file(client: Client, request: pytest.FixtureRequest) -> None:
    demo: Demo = request.getfixturevalue("lenient_demo" if client.lenient else "demo")
    replay = Replay(client, demo)
    replay.create()
    file = replay.in_parallel() if client.numbered else replay.in_order()
    assert file["uploaded"] is True
    assert isinstance(file["id"], int)
    assert file["title"] == replay.name
    download = demo.http().get(file["file"]["viewUrl"], stream=True)
    assert sha256(download.iter_content(MIB)) == sha256([replay.data])


def test_form_without_boundary_is_refused(demo: Demo) -> None:
    """The sample of the documentation sends this form, unless the browser adds a boundary."""
    replay = Replay(CLIENTS[0], demo)
    replay.create()
    headers = [replay.auth, "Content-Type: multipart/form-data", "Content-Length: 4"]
    status, _, answer = exchange(replay.location, "POST", headers, b"data")
    assert (status, answer["error"]["type"]) == (400, "no_boundary")


@pytest.mark.parametrize("hint", ["content-range", "offset"])
def test_repeated_chunk_is_stored_once(demo: Demo, hint: str) -> None:
    replay = Replay(next(client for client in CLIENTS if client.name.startswith("WebDAV server of Doc")), demo)
    replay.create()
    first, second, last = replay.chunks()
    if hint == "offset":
        replay.client = Client("a client that goes where the last answer says", JSON_LOWER)
    _, headers, answer = replay.send(*first)
    assert headers["Range"] == f"0-{10 * MIB - 1}"
    if hint == "offset":
        replay.session["location"] = answer["data"]["location"]
    for _ in range(2):
        status, _, answer = replay.send(*second)
        assert (status, answer["data"]["bytes_uploaded"]) == (200, 20 * MIB)
    if hint == "content-range":
        ahead = (3, 20 * MIB + 512, last[2][512:])
        status, headers, answer = replay.send(*ahead)
        assert (status, answer["error"]["details"]["expected"]) == (409, 20 * MIB)
    else:
        replay.session["location"] = answer["data"]["location"]
    for _ in range(2):
        status, _, answer = replay.send(*last)
        assert status == 201, answer
    download = demo.http().get(answer["data"]["file"]["viewUrl"])
    assert sha256([download.content]) == sha256([replay.data])


def test_login_and_browser_cookie(demo: Demo) -> None:
    body = b'{"userName":"demo","password":"demo"}'
    headers = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    status, _, answer = exchange(f"{demo.url}/api/2.0/authentication.json", "POST", headers, body)
    token = answer["response"]["token"]
    assert (status, token) == (200, demo.token)
    create = b'{"fileName":"cookie.txt","fileSize":1}'
    url = f"{demo.url}/api/2.0/files/1/upload/create_session"
    for extra, expected in [
        ([f"Cookie: asc_auth_key={token}", "Sec-Fetch-Site: same-origin"], 200),
        ([f"Cookie: asc_auth_key={token}", f"Origin: {demo.url}"], 200),
        ([f"Cookie: asc_auth_key={token}", "Sec-Fetch-Site: cross-site"], 403),
        ([f"Cookie: asc_auth_key={token}", "Origin: http://evil.example"], 403),
        ([f"Cookie: asc_auth_key={token}"], 200),
        ([f"Cookie: {token}"], 200),
        ([f"ApiKeyBearer: {token}"], 200),
        (["Authorization: wrong"], 401),
        (["Cookie: asc_auth_key=wrong"], 401),
    ]:
        status, _, answer = exchange(url, "POST", [f"Content-Length: {len(create)}", *extra], create)
        assert status == expected, (extra, answer)


def test_abort_initiate_and_options(demo: Demo) -> None:
    replay = Replay(CLIENTS[0], demo)
    query = "initiate=true&title=old.txt&fileSize=5&folderid=1&encrypted=false&tid=1&userid=x&culture=en"
    status, _, answer = exchange(
        f"{demo.url}/ChunkedUploader.ashx?{query}", "POST", [replay.auth, "Content-Length: 0"], b""
    )
    assert (status, answer["data"]["path"]) == (200, [1])
    location = answer["data"]["location"]
    assert demo.http().options(location).status_code == 200
    status, _, answer = exchange(f"{location}&abort=true", "POST", [replay.auth, "Content-Length: 0"], b"")
    assert (status, answer) == (200, {"success": True, "data": None, "message": ""})
    status, _, answer = exchange(location, "POST", [replay.auth, "Content-Length: 1"], b"x")
    assert (status, answer["error"]["type"]) == (410, "session_aborted")


@pytest.mark.parametrize("charset", ["hex", "undefined", "nonsense", '"utf-8"'])
def test_invalid_charset_is_ignored(demo: Demo, charset: str) -> None:
    body = b'{"fileName":"charset.txt","fileSize":1}'
    headers = [f"Authorization: Token {demo.token}", f"Content-Type: application/json; charset={charset}"]
    url = f"{demo.url}/api/2.0/files/1/upload/create_session"
    status, _, answer = exchange(url, "POST", [*headers, f"Content-Length: {len(body)}"], body)
    assert status == 200, answer
