"""Helpers of several tests: a client of the ONLYOFFICE protocol, and chunks made from bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files.base import ContentFile
from rest_framework.test import APIClient

from uploads._internal import conf, sessions
from uploads._internal.protocols.onlyoffice import conf as onlyoffice_conf
from uploads._internal.transfer import memory
from uploads.models import UploadSession


def Chunk(blocks: Iterator[bytes], **options: Any) -> sessions.Chunk:  # noqa: N802 - like the class
    """Return a chunk with the rules of the ONLYOFFICE protocol."""
    return sessions.Chunk(blocks, rules=onlyoffice_conf.current().rules, **options)


def chunk_of(*blocks: bytes) -> sessions.Chunk:
    return Chunk(iter(blocks))


def finalize(session: UploadSession) -> UploadSession:
    return sessions.finalize(session, onlyoffice_conf.current().rules)


@contextmanager
def no_memory() -> Iterator[None]:
    """Reserve all buffer memory and the overdraft for other requests."""
    inside, ahead = memory.MemoryReservation(), memory.MemoryReservation()
    inside.grow(conf.current().MAX_BUFFER_MEMORY, lambda: None)
    ahead.grow(1, lambda: None)
    yield
    for share in (inside, ahead):
        share.close()


class Uploader:
    """A client of the ONLYOFFICE protocol that uses Django's test client."""

    def __init__(self, api: APIClient, folder_id: object) -> None:
        self.api = api
        self.url = f"/api/2.0/files/{folder_id}/upload/create_session"

    def create(self, size: int, name: str = "file.bin", **fields: Any) -> Any:
        response = self.api.post(self.url, {"FileName": name, "FileSize": size, **fields}, format="json")
        assert response.status_code == 200, response.content
        return response.json()["response"]["data"]

    def send(self, session: dict[str, Any], data: bytes) -> Any:
        return self.api.post(session["location"], {"file": ContentFile(data, "blob")}, format="multipart")

    def send_raw(self, session: dict[str, Any], data: bytes, **headers: Any) -> Any:
        headers.setdefault("content_type", "application/octet-stream")
        return self.api.generic("POST", session["location"], data, **headers)

    def state(self, session: dict[str, Any]) -> Any:
        return self.api.get(session["location"]).json()["data"]

    def download(self, finished: Any) -> bytes:
        url = finished.json()["data"]["file"]["viewUrl"]
        return b"".join(self.api.get(url).streaming_content)
