"""Register the protocol's checks and probes for ``manage.py check`` and the doctor."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from django.core.checks import CheckMessage

from uploads._internal import registry
from uploads._internal.http import interim, routes
from uploads._internal.http.probes import probe_upload
from uploads._internal.protocols.resources import conf
from uploads._internal.registry import Finding

PACKAGE = "uploads._internal.protocols.resources"
CHUNK = 10 * 2**20
"""Bytes of a body that every server before the app must let through."""
QUESTION = (
    "OPTIONS {path} HTTP/1.1\r\nHost: {host}\r\nUpload-Draft-Interop-Version: 8\r\n"
    "User-Agent: {agent}\r\nConnection: close\r\n\r\n"
)


def is_included() -> bool:
    return any(routes.names_of("uploads", PACKAGE))


def check() -> Iterator[CheckMessage]:
    """Yield nothing: any order, place and size is valid for this protocol."""
    yield from ()


def probe(url: str) -> Iterator[Finding]:
    if not is_included():
        return
    yield probe_upload(url, routes.below_prefix("uploads", PACKAGE), CHUNK, lambda body: body["code"])
    if conf.current().INTERIM_RESPONSES:
        yield way_of_interim(url)


def way_of_interim(url: str) -> Finding:
    """Probe whether a 104 arrives as an interim response.

    An intermediary may take it for the final response.
    """
    below = routes.below_prefix("uploads", PACKAGE)
    if below is None:
        return Finding("interim", ok=False, text="where uploads begin depends on the request: ask by hand")
    try:
        statuses = _statuses(f"{url.rstrip('/')}/{below}")
    except OSError as error:
        return Finding("interim", ok=False, text=f"{url} does not answer: {error}")
    if statuses == [104, 200]:
        return Finding("interim", ok=True, text=f"104 (Upload Resumption Supported) gets through at {url}")
    text = f"104 does not get through at {url} (what came: {statuses}): set INTERIM_RESPONSES to False"
    return Finding("interim", ok=False, text=text)


def _statuses(address: str) -> list[int]:
    """Return the status of each response to OPTIONS.

    Python's own client takes any 104 for the final response.
    """
    parts = urlsplit(address)
    secure, host = parts.scheme == "https", parts.hostname or ""
    with socket.create_connection((host, parts.port or (443 if secure else 80)), timeout=30) as plain:
        connection = ssl.create_default_context().wrap_socket(plain, server_hostname=host) if secure else plain
        connection.sendall(QUESTION.format(path=parts.path, host=parts.netloc, agent=interim.DOCTOR).encode())
        came = b""
        while block := connection.recv(2**16):
            came += block
    lines = came.split(b"\r\n")
    return [int(line.split()[1]) for line in lines if line.startswith(b"HTTP/1.") and len(line.split()) > 1]


registry.register(registry.UploadProtocol("tus", is_included, check, probe))
