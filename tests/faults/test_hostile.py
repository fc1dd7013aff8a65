"""Bad requests over real sockets get a proper error response and change nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.data import MIB
from tests.faults.client import Client
from tests.faults.stack import Stack
from uploads._internal.stores.names import SIGNATURE

CREATE = "/api/2.0/files/1/upload/create_session"
FORM = "multipart/form-data; boundary=xyz"
HEAD = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n'
END = b"\r\n--xyz--\r\n"


@dataclass(frozen=True)
class Bad:
    """A bad request and its expected response; placeholders such as ``{location}`` are filled in."""

    name: str
    status: int
    code: str
    path: str = "{location}"
    body: bytes = b"0123456789"
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/octet-stream"),)
    length: int | None = None
    """Declared Content-Length, if it differs from the real one."""
    closes: bool = False
    """True if the client closes its sending side after the body."""


def form(body: bytes, kind: str = FORM) -> dict[str, Any]:
    return {"body": body, "headers": (("Content-Type", kind),)}


def fields(**values: Any) -> dict[str, Any]:
    body = json.dumps({"FileName": "a.bin", "FileSize": 10, **values}).encode()
    return {"path": CREATE, "body": body, "headers": (("Content-Type", "application/json"),)}


def raw_json(body: bytes) -> dict[str, Any]:
    return {"path": CREATE, "body": body, "headers": (("Content-Type", "application/json"),)}


def header(name: str, value: str) -> dict[str, Any]:
    return {"headers": (("Content-Type", "application/octet-stream"), (name, value))}


BAD = [
    # Wrong lengths and malformed forms.
    Bad("more declared than sent", 400, "incomplete_body", length=50, closes=True),
    Bad("form cut short", 400, "incomplete_body", length=500, closes=True, **form(HEAD % b"a" + b"0123")),
    Bad("more bytes than the file has", 400, "chunk_beyond_file", body=bytes(2 * MIB)),
    Bad("one byte more than the file has", 400, "chunk_beyond_file", body=bytes(101)),
    Bad("no bytes", 400, "empty_chunk", body=b""),
    Bad("no boundary", 400, "no_boundary", **form(b"x", "multipart/form-data")),
    Bad("wrong boundary", 400, "malformed_form", **form(HEAD % b"a" + b"x" + END, "multipart/form-data; boundary=abc")),
    Bad("no end", 400, "malformed_form", **form(HEAD % b"a" + b"0123456789")),
    Bad("no file in the form", 400, "no_file_part", **form(HEAD.replace(b"; filename", b"; x") % b"a" + b"x" + END)),
    Bad("empty form", 400, "malformed_form", **form(b"")),
    Bad("only the end", 400, "no_file_part", **form(b"--xyz--\r\n")),
    Bad("boundary in the wrong place", 400, "malformed_form", **form(b"junk--xyz\r\n\r\n")),
    Bad("segment without headers", 400, "malformed_form", **form(b"--xyz\r\n\r\nabc" + END)),
    Bad("header line without end", 400, "malformed_form", **form(b"--xyz\r\nContent-Disposition: " + b"a" * 100_000)),
    Bad("bare newlines", 400, "malformed_form", **form(b"--xyz\nContent-Disposition: form-data\n\nabc\n--xyz--\n")),
    Bad(
        "10,000 form fields",
        400,
        "malformed_form",
        **form(
            b"".join(b'--xyz\r\nContent-Disposition: form-data; name="%d"\r\n\r\nx\r\n' % n for n in range(10_000))
            + END
        ),
    ),
    Bad("1 MB boundary", 431, "request_too_large", **form(b"x", "multipart/form-data; boundary=" + "b" * 1_000_000)),
    # Offsets, ranges, digests, and oversized headers.
    Bad("offset beyond what is stored", 409, "offset_mismatch", path="{location}&offset=50"),
    Bad("negative offset", 400, "invalid_request", path="{location}&offset=-1"),
    Bad("huge offset", 400, "invalid_request", path="{location}&offset=" + "9" * 40),
    Bad("offset that is no number", 400, "invalid_request", path="{location}&offset=1e3"),
    Bad("offset in other digits", 400, "invalid_request", path="{location}&offset=%D9%A1"),
    Bad("range that is none", 400, "content_range_invalid", **header("Content-Range", "bytes 9-1/100")),
    Bad("range of another file", 400, "content_range_invalid", **header("Content-Range", "bytes 0-9/1000")),
    Bad("range longer than the chunk", 400, "content_range_invalid", **header("Content-Range", "bytes 0-19/100")),
    Bad("range beyond the file", 400, "content_range_invalid", **header("Content-Range", "bytes 95-104/*")),
    Bad("range of junk", 400, "content_range_invalid", **header("Content-Range", "\u00e9 lots")),
    Bad("range after a gap", 409, "offset_mismatch", **header("Content-Range", "bytes 50-59/100")),
    Bad("MD5 of other bytes", 400, "digest_mismatch", **header("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")),
    Bad("SHA-256 of other bytes", 400, "digest_mismatch", **header("Content-Digest", "sha-256=:AAAA:")),
    Bad("500 digests", 400, "digest_mismatch", **header("Content-Digest", ",".join(["md5=:AAAA:"] * 500))),
    Bad("MD5 that is none", 400, "invalid_request", **header("Content-MD5", "\u00e9")),
    Bad("digest that is none", 400, "invalid_request", **header("Content-Digest", "sha-256=abc")),
    Bad("1 MB header", 431, "request_too_large", **header("X-Long", "a" * 1_000_000)),
    Bad("1 MB URL", 414, "request_too_large", path="{location}&x=" + "a" * 1_000_000),
    # Numbered chunks.
    Bad("chunk 0", 400, "chunk_number_invalid", path="{location}&upload=true&chunkNumber=0"),
    Bad("chunk 101 of at most 100", 400, "chunk_number_invalid", path="{location}&upload=true&chunkNumber=101"),
    Bad("chunk -1", 400, "invalid_request", path="{location}&upload=true&chunkNumber=-1"),
    Bad("chunk 10^30", 400, "invalid_request", path="{location}&upload=true&chunkNumber=1" + "0" * 30),
    Bad("numbered where chunks come in order", 409, "mode_conflict", path="{begun}&upload=true&chunkNumber=1"),
    Bad("finalized too early", 409, "upload_incomplete", path="{location}&finalize=true", body=b""),
    # Foreign, ended and unknown sessions.
    Bad("unknown session", 404, "session_not_found", path="/ChunkedUploader.ashx?uid=" + "0" * 32),
    Bad("foreign session", 404, "session_not_found", path="{foreign}"),
    Bad("foreign session, asked for", 404, "session_not_found", path="{foreign}", method="GET", body=b""),
    Bad("foreign session, aborted", 404, "session_not_found", path="{foreign}&abort=true"),
    Bad("foreign session, finalized", 404, "session_not_found", path="{foreign}&finalize=true"),
    Bad("no session", 400, "invalid_request", path="/ChunkedUploader.ashx"),
    Bad("session that is no id", 404, "session_not_found", path="/ChunkedUploader.ashx?uid=../../etc/passwd"),
    Bad("session with NUL", 404, "session_not_found", path="/ChunkedUploader.ashx?uid=%00"),
    Bad("session of 100 KB", 414, "request_too_large", path="/ChunkedUploader.ashx?uid=" + "a" * 100_000),
    Bad("aborted session", 410, "session_aborted", path="{aborted}"),
    Bad("aborted session, finalized", 410, "session_aborted", path="{aborted}&finalize=true"),
    Bad("finished session, aborted", 409, "session_closed", path="{finished}&abort=true"),
    Bad("nobody", 401, "not_authenticated", **header("Authorization", "Token wrong")),
    Bad("broken credentials", 401, "not_authenticated", **header("Authorization", "Basic \u00ff\u00fe")),
    Bad("method that is none", 405, "method_not_allowed", method="PATCH"),
    # Fields of create_session.
    Bad("JSON cut short", 400, "invalid_request", **raw_json(b'{"FileName": "a')),
    Bad("JSON list", 400, "invalid_request", **raw_json(b"[]")),
    Bad("JSON bomb", 400, "invalid_request", **raw_json(b"[" * 50_000)),
    Bad("JSON object bomb", 400, "invalid_request", **raw_json(b'{"a":' * 10_000)),
    Bad("JSON of 2 MB", 413, "fields_too_large", **raw_json(b'{"FileName": "' + b"a" * 2_000_000 + b'"}')),
    Bad("JSON number of 50,000 digits", 400, "invalid_request", **raw_json(b'{"FileSize": ' + b"9" * 50_000 + b"}")),
    Bad("no UTF-8", 400, "invalid_request", **raw_json(b'{"FileName": "\xff\xfe", "FileSize": 1}')),
    Bad("no size", 400, "invalid_request", **fields(FileSize=None)),
    Bad("negative size", 400, "invalid_request", **fields(FileSize=-1)),
    Bad("size of 10^30", 413, "file_too_large", **fields(FileSize=10**30)),
    Bad("size above 48.8 TiB", 413, "file_too_large", **fields(FileSize=10**18)),
    Bad("size NaN", 400, "invalid_request", **raw_json(b'{"FileName": "a", "FileSize": NaN}')),
    Bad("size Infinity", 400, "invalid_request", **raw_json(b'{"FileName": "a", "FileSize": Infinity}')),
    Bad("size that is a list", 400, "invalid_request", **fields(FileSize=[10])),
    Bad("name that is an object", 400, "invalid_request", **fields(FileName={"a": 1})),
    Bad("empty name", 400, "invalid_request", **fields(FileName="")),
    Bad("name ..", 400, "invalid_name", **fields(FileName="..")),
    Bad("name of blanks", 400, "invalid_name", **fields(FileName="   ")),
    Bad("name with NUL", 400, "invalid_request", **fields(FileName="a\0b")),
    Bad("path out of the folder", 400, "invalid_name", **fields(RelativePath="a/../../b")),
    Bad("path of 1,000 folders", 400, "invalid_name", **fields(RelativePath="a/" * 1000)),
    Bad("date that is none", 400, "invalid_request", **fields(CreateOn="yesterday")),
    Bad("unknown folder", 404, "folder_not_found", **{**fields(), "path": CREATE.replace("/1/", "/999/")}),
    Bad(
        "folder of somebody else", 404, "folder_not_found", **{**fields(), "path": CREATE.replace("/1/", "/{folder}/")}
    ),
    Bad("folder with NUL", 404, "folder_not_found", **{**fields(), "path": CREATE.replace("/1/", "/%00/")}),
    Bad("folder of 10^30", 404, "folder_not_found", **{**fields(), "path": CREATE.replace("/1/", f"/{10**30}/")}),
]


@pytest.fixture(scope="module")
def places(whole_stack: Stack) -> dict[str, str]:
    """Return the paths of sessions in every state, of demo and of another user."""
    client = Client([whole_stack.url()], whole_stack.token)
    made = {name: client.create(100) for name in ("location", "begun", "aborted")}
    client.insist("POST", made["begun"], data=bytes(50))
    client.insist("POST", made["aborted"] + "&abort=true")
    made["finished"] = client.create(3)
    client.send(made["finished"], b"abc", itertools.repeat(3))
    admin = "User.objects.get(username='admin')"
    folder = f"Folder.objects.get_or_create(owner={admin}, parent=None, defaults={{'title': 'Private'}})[0].pk"
    made["folder"] = str(whole_stack.ask(folder))
    token = whole_stack.ask(f"Token.objects.get_or_create(user={admin})[0].key")
    other = Client([whole_stack.url()], token)
    answer = other.insist("POST", CREATE.replace("/1/", f"/{made['folder']}/"), json={"FileName": "x", "FileSize": 100})
    made["foreign"] = "/ChunkedUploader.ashx?uid=" + answer.json()["data"]["id"]
    return made


def rows(stack: Stack) -> Any:
    values = "'id', 'state', 'mode', 'bytes_stored', 'file_name', 'failure'"
    return stack.ask(f"[list(UploadSession.objects.order_by('pk').values_list({values})), File.objects.count()]")


def exchange(stack: Stack, head: str, body: bytes, *, closes: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Send a request verbatim; read the response even if the server stops reading."""
    with socket.create_connection(("127.0.0.1", stack.ports["web"]), timeout=30) as connection:
        connection.sendall(head.encode("latin-1", "replace") + body)
        if closes:
            connection.shutdown(socket.SHUT_WR)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, stream.read(int(headers.get("content-length", 0)))


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_bad_request_changes_nothing(stack: Stack, places: dict[str, str], bad: Bad) -> None:
    headers = {"Host": "localhost", "Authorization": f"Token {stack.token}", **dict(bad.headers)}
    headers["Content-Length"] = str(len(bad.body) if bad.length is None else bad.length)
    lines = [f"{bad.method} {bad.path.format_map(places)} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    before, logs = rows(stack), (stack.directory / "web.log").stat().st_size
    status, answered, body = exchange(stack, "\r\n".join(lines) + "\r\n\r\n", bad.body, closes=bad.closes)
    assert rows(stack) == before
    assert status == bad.status, body
    if bad.code != "request_too_large":  # gunicorn answers these itself
        assert answered["content-type"] == "application/json"
        answer = json.loads(body)
        assert (answer["error"]["type"], answer["success"]) == (bad.code, False)
        assert answer["message"]
    assert b"Traceback" not in (stack.directory / "web.log").read_bytes()[logs:]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "a\x1b[31m\r\nSet-Cookie: x",
        "‮gpj.exe",
        "\ud83d\ude00" * 300,
        "CON",
        "<script>",
        "a/b\\c",
        "a\u2028b",
    ],
)
def test_hostile_names_become_harmless_titles(stack: Stack, name: str) -> None:
    client = Client([stack.url()], stack.token)
    path = client.create(1, FileName=name, RelativePath=f"names/{name.replace('..', '')}")
    file = client.send(path, b"x", itertools.repeat(1))
    assert not set(file["title"]) & set('/\\<>:"|?*\x00\r\n\x1b\u202e\u2028')
    assert len(file["title"]) <= 170
    answer = client.insist("GET", f"/files/{file['id']}/download")
    assert "\n" not in answer.headers["Content-Disposition"]
    assert "Set-Cookie" not in answer.headers
    directory, _, last = stack.ask(f"File.objects.get(pk={file['id']}).content.name").rpartition("/")
    assert re.fullmatch(SIGNATURE, directory.rpartition("/")[2])
    assert re.fullmatch(r"[\w-][\w.-]{0,39}", last)
    assert last.upper() != "CON"


def drip(connection: socket.socket, data: bytes, seconds: float) -> None:
    """Send a little data periodically while the server accepts it."""
    ends = time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < ends:
            connection.send(data)
            time.sleep(0.3)


@pytest.mark.parametrize(
    ("framing", "start", "data", "seconds"),
    [
        pytest.param("Content-Length: 10000", b"some", b"", 0, id="stalls"),
        pytest.param("Content-Length: 10000", b"some", b"x", 5, id="drips"),
        pytest.param("Transfer-Encoding: chunked", b"4\r\nsome\r\n", b"1\r\nx\r\n", 15, id="drips-in-chunks"),
    ],
)
def test_slow_body_times_out(stack: Stack, framing: str, start: bytes, data: bytes, seconds: float) -> None:
    """Answer 408 to a stalled body, and to one below 8 KiB/s on average."""
    client = Client([stack.url()], stack.token)
    path = client.create(100_000)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {stack.token}\r\n{framing}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stack.ports["web"]), timeout=30) as connection:
        connection.sendall(head.encode() + start)
        drip(connection, data, seconds)
        status, _, body = read_answer(connection)
    assert (status, json.loads(body)["error"]["type"]) == (408, "body_timeout")
    assert client.state(path)["bytes_uploaded"] == 0
    assert client.insist("POST", path, data=bytes(100_000)).status_code == 201


@pytest.mark.parametrize(
    ("path", "size", "code"),
    [
        (f"/ChunkedUploader.ashx?uid={'0' * 32}", 10 * MIB, (404, "session_not_found")),
        ("{own}", 40 * MIB, (400, "chunk_beyond_file")),
    ],
    ids=["unknown", "own"],
)
def test_error_is_readable_while_client_sends(
    stack: Stack, client: Client, path: str, size: int, code: tuple[int, str]
) -> None:
    head = (
        f"POST {path.format(own=client.create(1))} HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Token {stack.token}\r\nContent-Length: {size}\r\n\r\n"
    )
    status, _, body = exchange(stack, head, bytes(size))
    assert (status, json.loads(body)["error"]["type"]) == code


def test_unknown_and_foreign_ids_look_alike(stack: Stack, places: dict[str, str]) -> None:
    client = Client([stack.url()], stack.token)
    unknown = client.insist("GET", "/ChunkedUploader.ashx?uid=" + "0" * 32)
    foreign = client.insist("GET", places["foreign"])
    assert (unknown.status_code, unknown.content) == (foreign.status_code, foreign.content)
