"""A client that retries: on any failure it queries the state and resumes from there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.data import sha256

PASSING = {202, 423, 429, 500, 502, 503, 504}
LONGEST_PAUSE = 0.5
"""Seconds; caps Retry-After, so that tests stay short."""


class GaveUp(Exception):
    """The session cannot continue; the response states the reason."""

    def __init__(self, answer: requests.Response) -> None:
        self.answer = answer
        super().__init__(f"{answer.status_code}: {answer.text[:300]}")


@dataclass
class Client:
    urls: list[str]
    """URLs of the portal's hosts; requests rotate over them."""
    token: str
    within: float = 60
    """Seconds after which a transient error counts as permanent."""
    statuses: list[int] = field(default_factory=list)
    turn: int = 0

    def __post_init__(self) -> None:
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Token {self.token}"

    def request(self, method: str, path: str, **options: Any) -> requests.Response | None:
        """Make one request; return None if no response arrived."""
        self.turn += 1
        url = self.urls[self.turn % len(self.urls)] + path
        try:
            answer = self.http.request(method, url, timeout=30, **options)
        except requests.RequestException:
            return None
        self.statuses.append(answer.status_code)
        return answer

    def insist(self, method: str, path: str, **options: Any) -> requests.Response:
        """Repeat a request until its response is not a transient error."""
        deadline = time.monotonic() + self.within
        while True:
            answer = self.request(method, path, **options)
            if answer is not None and answer.status_code not in PASSING:
                return answer
            assert time.monotonic() < deadline, f"{method} {path}: still {answer and answer.text}"
            self.pause(answer)

    def pause(self, answer: requests.Response | None) -> None:
        wanted = float(answer.headers.get("Retry-After", LONGEST_PAUSE)) if answer is not None else LONGEST_PAUSE
        time.sleep(min(wanted, LONGEST_PAUSE))

    def create(self, size: int, **fields: Any) -> str:
        """Open a session and return its path."""
        fields = {"FileName": "file.bin", "FileSize": size, "CreateNewIfExist": True, **fields}
        answer = self.insist("POST", "/api/2.0/files/1/upload/create_session", json=fields)
        if answer.status_code != 200:
            raise GaveUp(answer)
        return "/ChunkedUploader.ashx?uid=" + str(answer.json()["data"]["id"])

    def state(self, path: str) -> Any:
        answer = self.insist("GET", path)
        if answer.status_code != 200:
            raise GaveUp(answer)
        return answer.json()["data"]

    def send(self, path: str, data: bytes, sizes: Iterator[int]) -> Any:
        """Send ``data`` in chunks of ``sizes``; return the file from the last response."""
        deadline = time.monotonic() + self.within
        offset = 0
        while True:
            assert time.monotonic() < deadline, f"not done after {self.within} s: {self.statuses[-20:]}"
            chunk = data[offset : offset + next(sizes)]
            answer = self.request("POST", path, files={"file": chunk})
            if answer is not None and answer.status_code == 201:
                return answer.json()["data"]
            if answer is not None and answer.status_code == 200:
                acknowledged = answer.json()["data"]["bytes_uploaded"]
                assert acknowledged == offset + len(chunk)
                offset = acknowledged
                continue
            if answer is not None and answer.status_code not in PASSING:
                raise GaveUp(answer)
            self.pause(answer)
            stored = self.state(path)["bytes_uploaded"]
            assert stored >= offset, "what was acknowledged is lost"
            offset = stored

    def upload(self, data: bytes, sizes: Iterator[int], **fields: Any) -> Any:
        return self.send(self.create(len(data), **fields), data, sizes)

    def download(self, file: Any) -> str:
        """Return the SHA-256 of the published file's content."""
        answer = self.insist("GET", f"/files/{file['id']}/download")
        assert answer.status_code == 200, answer.text
        return sha256([answer.content])
