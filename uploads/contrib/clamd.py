"""Check files with ClamAV's daemon: ``{"BACKEND": …, "OPTIONS": {"checker": "uploads.contrib.clamd.check"}}``.

Files are sent with ``INSTREAM`` (clamd(8)) to ``UPLOADS["CLAMD"]``, so that clamd needs no access to the store.
"""

from __future__ import annotations

import select
import socket
import struct
from typing import BinaryIO

from uploads._internal import conf
from uploads.exceptions import CheckerUnavailable, FileRefused, FileUncheckable
from uploads.models import UploadSession

BLOCK = 2**18
PATIENCE = 600
"""Seconds to wait for clamd to accept a block, or to report its result."""
CANNOT_TELL = ("Heuristics.Limits.Exceeded", "Heuristics.Encrypted")
"""Findings that only report an incomplete scan."""


def check(session: UploadSession, file: BinaryIO) -> None:
    """Scan a file with clamd.

    Raises FileRefused for a finding, FileUncheckable if clamd cannot scan the file, and CheckerUnavailable for other
    failures.
    """
    try:
        with _connected(conf.current().CLAMD) as clamd:
            _send(clamd, file)
            answer = _answer(clamd)
    except OSError as error:
        raise CheckerUnavailable from error
    _, _, found = answer.rpartition("stream: ")
    if found.endswith(" FOUND"):
        name = found.removesuffix(" FOUND")
        raise (FileUncheckable if name.startswith(CANNOT_TELL) else FileRefused)(reason=name)
    if "size limit exceeded" in found:
        raise FileUncheckable(reason="it is larger than the virus scanner takes")
    if found != "OK":
        raise CheckerUnavailable


def _connected(address: str) -> socket.socket:
    if address.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(PATIENCE)
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE)


def _send(clamd: socket.socket, file: BinaryIO) -> None:
    clamd.sendall(b"zINSTREAM\0")
    while block := file.read(BLOCK):
        # clamd reports an oversized file before its end, and resets the connection if more data follows.
        if select.select([clamd], [], [], 0)[0]:
            return
        try:
            clamd.sendall(struct.pack("!L", len(block)) + block)
        except (BrokenPipeError, ConnectionResetError):
            return
    clamd.sendall(struct.pack("!L", 0))


def _answer(clamd: socket.socket) -> str:
    reply = b""
    while not reply.endswith(b"\0") and (more := clamd.recv(4096)):
        reply += more
    return reply.rstrip(b"\0\n").decode(errors="replace")
