"""Parts straight to the store: plan and sign them, ask for the stored ones, complete the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from django.core import signing
from django.http import HttpRequest
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle

from uploads._internal import sessions
from uploads._internal.http import routes
from uploads._internal.http.body import django_request, read_blocks, read_fields_body, require_identity
from uploads._internal.http.errors import problem
from uploads._internal.http.exceptions import DigestMismatch
from uploads._internal.http.requests import body_options, json_object
from uploads._internal.http.views import RETRY_COMPLETION_AFTER, UploadView, exempt_from_csrf, file_status, get_or_404
from uploads._internal.parts import update_crc32
from uploads._internal.sessions import Chunk, direct
from uploads._internal.stores import get_store
from uploads.exceptions import InvalidRequest, SessionNotFound
from uploads.models import Mode, UploadPart, UploadSession

SIGNED_AT_ONCE = 20
"""Maximum number of parts in one request for URLs."""
SALT = "uploads.direct.part"
_CRC32 = re.compile(r"[0-9a-fA-F]{8}")


class DirectView(UploadView):
    """Base of the endpoints. Errors are problems (RFC 9457)."""

    schema = None
    scope = "uploads-chunk"
    throttle_classes = (ScopedRateThrottle,)  # A rate for all requests of a user must not apply to parts.

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return lambda error, _: problem(error)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        exempt_from_csrf(request)
        return super().initialize_request(request, *args, **kwargs)

    def address(self, name: str, **given: object) -> str:
        return routes.reverse_sibling(django_request(self.request), name, "session_id", "number", **given)


class PartsViewSet(DirectView):
    """The parts of one upload."""

    def sign(self, request: Request, session_id: str, **_: str) -> Response:
        """Return signed URLs for parts."""
        session = self.find(session_id)
        direct.require_offered(session)
        fields = json_object(read_fields_body(django_request(request)))
        wanted = _wanted(fields)
        if get_store(session.storage).writes_anywhere:
            parts = [self._own(session, number, crc32) for number, crc32 in wanted.items()]
        else:
            parts = [
                {
                    "number": part.number,
                    "offset": part.offset,
                    "size": part.size,
                    "url": part.signed.url,
                    "headers": part.signed.headers,
                    "expires": part.expires_at.isoformat(),
                }
                for part in direct.sign_parts(session, wanted)
            ]
        return Response(self._planned(session) | {"parts": parts})

    def list(self, request: Request, session_id: str, **_: str) -> Response:
        """Return the stored parts, as the store lists them."""
        session = sessions.require_live(self.find(session_id))
        if session.mode == Mode.NUMBERED:
            rows = session.numbered_chunks.filter(crc32__isnull=False)
            parts = [{"number": row.number, "size": row.size, "crc32": f"{row.crc32:08x}"} for row in rows]
        else:
            parts = [_described(row) for row in direct.list_direct(session)]
        return Response(self._planned(session) | {"parts": parts})

    def complete(self, request: Request, session_id: str, **_: str) -> Response:
        """Complete the file from its parts: 200 with the file, 202 while it is being completed."""
        session = self.find(session_id)
        numbered = session.mode == Mode.NUMBERED or get_store(session.storage).writes_anywhere
        session = sessions.finalize(session) if numbered else direct.complete_direct(session)
        status = file_status(session, completed=200)
        response = Response({"state": session.state, "url": self.file_url(session), "crc32": session.crc}, status)
        if status == 202:
            response["Retry-After"] = str(RETRY_COMPLETION_AFTER)
        return response

    def _planned(self, session: UploadSession) -> dict[str, Any]:
        plan = direct.plan_direct(session, get_store(session.storage)) if session.plan is None else session.plan
        return {
            "state": session.state,
            "part_size": plan.part_size,
            "count": direct.count_parts(session, plan),
            "lifetime": int(direct.direct_settings().DIRECT_URL_LIFETIME.total_seconds()),
        }

    def _own(self, session: UploadSession, number: int, crc32: int | None) -> dict[str, Any]:
        """Return the portal's own signed URL of a part: a file system has none."""
        plan = direct.plan_direct(session, get_store(session.storage))
        size, settings = direct.size_of_part(session, plan, number), direct.direct_settings()
        signed = signing.dumps([session.pk.hex, number, size, crc32], salt=SALT)
        path = self.address("part", session_id=session.pk.hex, number=number)
        return {
            "number": number,
            "offset": (number - 1) * plan.part_size,
            "size": size,
            "url": self.request.build_absolute_uri(f"{path}?signed={signed}"),
            "headers": {},
            "expires": direct.expires_at(settings).isoformat(),
        }


class PartViewSet(DirectView):
    """The portal's own signed URL of a part, for storages without signed URLs."""

    permission_classes = (AllowAny,)

    def get_authenticators(self) -> Any:
        return []  # The signature authorizes the request.

    def get_permissions(self) -> Any:
        return []

    def receive(self, request: Request, session_id: str, number: int, **_: str) -> Response:
        """Store a part."""
        lifetime = direct.direct_settings().DIRECT_URL_LIFETIME
        try:
            named = signing.loads(request.GET.get("signed", ""), salt=SALT, max_age=lifetime)
        except signing.BadSignature as error:
            raise SessionNotFound from error
        pk, signed_number, size, crc32 = named
        if (pk, signed_number) != (session_id, number):
            raise SessionNotFound
        session = self.named_session = get_or_404(UploadSession.objects.all(), session_id)
        self.slot.acquire(session.owner_key)
        http = django_request(request)
        require_identity(http)
        blocks = _verified(read_blocks(http), size, crc32)
        sessions.receive_numbered(session, replace(Chunk(blocks, **body_options(http)), size=size), number)
        return Response(headers={"ETag": f'"{number}-{size:x}"'})


def _wanted(fields: dict[str, Any]) -> dict[int, int | None]:
    """Return the CRC-32 of the wanted parts by number; raise InvalidRequest."""
    try:
        wanted = {part["number"]: part.get("crc32") for part in fields["parts"]}
    except (KeyError, TypeError, AttributeError) as error:
        message = "parts must be a list of objects with number and, if known, crc32."
        raise InvalidRequest(message) from error
    if not 1 <= len(wanted) <= SIGNED_AT_ONCE or not all(type(number) is int for number in wanted):
        message = f"Name 1 to {SIGNED_AT_ONCE} parts by their numbers."
        raise InvalidRequest(message)
    return {number: None if text is None else _decoded(text) for number, text in wanted.items()}


def _decoded(text: object) -> int:
    """Return a CRC-32 given in hexadecimal; raise InvalidRequest."""
    if not (isinstance(text, str) and _CRC32.fullmatch(text)):
        message = "crc32 must have eight hexadecimal digits."
        raise InvalidRequest(message)
    return int(text, 16)


def _verified(blocks: Iterator[bytes], size: int, crc32: int | None) -> Iterator[bytes]:
    """Yield the blocks of a part; raise InvalidRequest or DigestMismatch unless they are what was signed."""
    found, received = 0, 0
    for block in blocks:
        found, received = update_crc32(block, found), received + len(block)
        yield block
    if received != size:
        message = f"The URL is signed for {size} bytes."
        raise InvalidRequest(message)
    if crc32 not in (None, found):
        raise DigestMismatch(algorithm="crc32")


def _described(row: UploadPart) -> dict[str, Any]:
    number = row.offset // row.session.part_size + 1 if row.session.part_size else 1
    return {"number": number, "size": row.size, "crc32": row.crc or None, "etag": row.etag}
