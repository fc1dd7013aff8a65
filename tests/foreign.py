"""Documented rules of stores that tests cannot use, enforced by a proxy."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.proxy import Action, Answer, Call, Cut, with_code


@dataclass
class ForeignStore:
    """Rules of a store in addition to those of all stores."""

    equal_sizes: bool = False
    """All parts but the last must have the same size (Cloudflare R2)."""
    refuses_unlisted: bool = False
    """Complete fails if the upload has unlisted parts (Ceph)."""
    most_parts: int = 10_000
    """Maximum number of parts of an upload (Scaleway: 1,000)."""
    names_writes: bool = False
    """Each write of a part gets a new ETag, even for equal bytes.

    SSE-KMS and S3 Express do this.
    """
    lists_parts: bool = True
    ignores_etags: bool = False
    """Complete takes the last write of each part, whatever ETag it names."""
    parts: dict[str, dict[int, tuple[int, str, str]]] = field(default_factory=dict)
    """Size, reported ETag and real ETag of each part, by upload id and part number."""

    def refusal(self, kind: str, call: Call) -> Answer | None:
        """Return the store's refusal of a call, or None."""
        query = parse_qs(urlsplit(call.path).query)
        if kind == "ListParts" and not self.lists_parts:
            return with_code(501, "NotImplemented")(call)
        if kind == "UploadPart" and int(query["partNumber"][0]) > self.most_parts:
            return with_code(400, "InvalidArgument")(call)
        if kind != "CompleteMultipartUpload":
            return None
        held = self.parts.get(query["uploadId"][0], {})
        named = dict(_named(call))
        if self.ignores_etags:
            for number, etag in named.items():
                call.body = call.body.replace(etag.encode(), held[number][2].encode())
            return None
        sizes = [size for number, (size, _, _) in sorted(held.items()) if number in named]
        wrong = (
            any(number not in held or held[number][1] != etag for number, etag in named.items())
            or (self.refuses_unlisted and held.keys() != named.keys())
            or (self.equal_sizes and len({*sizes[:-1]}) > 1)
        )
        if wrong:
            return with_code(400, "InvalidPart")(call)
        for _, reported, real in held.values():
            call.body = call.body.replace(reported.encode(), real.encode())
        return None

    def note(self, kind: str, call: Call, answer: Answer) -> None:
        """Record the response of the real store, and rewrite it to that of this store."""
        query = parse_qs(urlsplit(call.path).query)
        if answer.status != 200 or kind not in ("UploadPart", "UploadPartCopy", "ListParts"):
            return
        held = self.parts.setdefault(query["uploadId"][0], {})
        if kind == "ListParts":  # SeaweedFS lists each write of a part.
            current = {real.encode(): reported.encode() for _, reported, real in held.values()}
            for part in re.findall(rb"<Part>.*?</Part>", answer.body, re.DOTALL):
                listed = next((part.replace(real, reported) for real, reported in current.items() if real in part), b"")
                answer.body = answer.body.replace(part, listed)
            return
        number, real = int(query["partNumber"][0]), _etag(kind, answer)
        reported = uuid.uuid4().hex if self.names_writes else real
        held[number] = (len(call.body), reported, real)
        answer.headers = [(name, value.replace(real, reported)) for name, value in answer.headers]
        answer.body = answer.body.replace(real.encode(), reported.encode())


def _named(call: Call) -> Iterator[tuple[int, str]]:
    """Yield the numbers and ETags of the parts that a Complete names."""
    for part in re.findall(r"<Part>(.*?)</Part>", call.body.decode(), re.DOTALL):
        etag = re.search(r"<ETag>(?:\"|&quot;|&#34;)?(.*?)(?:\"|&quot;|&#34;)?</ETag>", part)
        number = re.search(r"<PartNumber>(\d+)</PartNumber>", part)
        if etag and number:
            yield int(number[1]), etag[1]


def _etag(kind: str, answer: Answer) -> str:
    if kind == "UploadPartCopy":
        found = re.search(rb"<ETag>(?:\"|&quot;|&#34;)?(.*?)(?:\"|&quot;|&#34;)?</ETag>", answer.body)
        return found[1].decode() if found else ""
    return next((value for name, value in answer.headers if name.lower() == "etag"), "").strip('"')


class Straggler:
    """A call that reaches the store after its connection to the client has ended."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._lock = threading.Lock()

    def keep(self, call: Call) -> Answer:
        """Hold the call back and cut its connection."""
        with self._lock:
            self._calls.append(call)
        raise Cut

    def arrive(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
        for call in calls:
            call.forward()

    def arrive_before(self, call: Call) -> Answer:
        """Forward the held calls right before this one."""
        self.arrive()
        return call.forward()


RULES: dict[str, ForeignStore] = {
    "seaweedfs": ForeignStore(),
    "equal-sizes": ForeignStore(equal_sizes=True),
    "refuses-unlisted": ForeignStore(refuses_unlisted=True),
    "few-parts": ForeignStore(most_parts=12),
    "etags-name-writes": ForeignStore(names_writes=True),
    "no-list-parts": ForeignStore(lists_parts=False),
}
__all__ = ["RULES", "Action", "ForeignStore", "Straggler"]
