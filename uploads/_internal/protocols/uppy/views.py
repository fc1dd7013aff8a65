"""The endpoints of a Companion: parts are numbered chunks, and only the app signs URLs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from django.core import signing
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle

from uploads._internal import owners, sessions
from uploads._internal.http import metadata, routes
from uploads._internal.http.body import django_request, read_blocks, read_fields_body, require_identity
from uploads._internal.http.errors import problem
from uploads._internal.http.exceptions import PartChanged
from uploads._internal.http.requests import body_options, json_object, read_file
from uploads._internal.http.views import UploadView, exempt_from_csrf, file_status
from uploads._internal.parts import MAX_PARTS, MIN_PART_SIZE
from uploads._internal.sessions import Chunk, FileRequest, Rules, direct
from uploads._internal.stores import get_store
from uploads.exceptions import InvalidRequest, SessionAborted, SessionNotFound
from uploads.models import PAST_SENDING, Mode, State, UploadSession

RULES = Rules(least=MIN_PART_SIZE)
"""Rules for parts as the plugin makes them for S3."""
SALT = "uploads.uppy.file"
SIGNED_FOR = 24 * 3600
"""Seconds for which a signed URL accepts the file."""
SIZES = "size", "filesize"
"""Metadata in which a page may send the file's size; the plugin sends none.

Portals with user quotas need the size.
"""
PART_SIZE = "partSize"
"""Metadata in which a page gives the plugin's ``getChunkSize``: the store's URLs are signed for this size."""


class UppyView(UploadView):
    """Return errors as problems; the plugin shows only their status."""

    protocol = "uppy"
    schema = None  # Only the plugin uses its protocol.

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response | None]:
        return lambda error, _: problem(error)

    def address(self, name: str, **given: object) -> str:
        """Return the path of another endpoint in the include of the request.

        Namespace and path parameters are kept.
        """
        return routes.reverse_sibling(django_request(self.request), name, "session_id", "number", **given)

    def location(self, session: UploadSession) -> str | None:
        sessions.require_no_failure(session)
        return self.file_url(session)


class UppyCreateViewSet(UppyView):
    """Endpoints that begin uploads."""

    scope = "uploads-create"

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        if _is_json(request):
            exempt_from_csrf(request)
        return super().initialize_request(request, *args, **kwargs)

    def create(self, request: Request, **_: str) -> Response:
        """Begin an upload in parts."""
        if not _is_json(django_request(request)):
            message = "Send JSON."
            raise InvalidRequest(message)
        file = _file_request(json_object(read_fields_body(django_request(request))))
        session = self.open(self.folder_of(file), file)
        return Response({"key": session.file_name, "uploadId": session.id.hex})

    def sign_file(self, request: Request, **_: str) -> Response:
        """Return the URL for a file in one request.

        The file is sent as a form that must not be forged, so the URL is signed.
        """
        query = request.query_params
        pairs = {name[len("metadata[") : -1]: value for name, value in query.items() if name.startswith("metadata[")}
        fields = {"filename": query.get("filename", ""), "type": query.get("type", ""), "metadata": pairs}
        key = uuid4().hex  # The plugin takes the URL of the file to be this address, a slash, and the key.
        signed = signing.dumps([owners.key_of(self.user), key, fields], salt=SALT, compress=True)
        url = request.build_absolute_uri(f"{self.address('files')}?signed={signed}")
        return Response({"method": "POST", "url": url, "fields": {"key": key}})


class UppyFileViewSet(UppyView):
    """The endpoint for a file in one request, sent as a form."""

    scope = "uploads-create"

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        try:
            self.signed = signing.loads(request.GET.get("signed", ""), salt=SALT, max_age=SIGNED_FOR)
        except signing.BadSignature:
            self.signed = ["", "", {}]
        else:
            exempt_from_csrf(request)
        return super().initialize_request(request, *args, **kwargs)

    def receive(self, request: Request, **_: str) -> Response:
        """Store the file of the form."""
        owner, key, fields = self.signed
        if owner != owners.key_of(self.user):
            raise SessionNotFound
        session = UploadSession.objects.filter(pk=key).first()
        if session is None or session.state not in PAST_SENDING:  # Otherwise, only the answer was lost.
            file = replace(_file_request(fields), size=None, id=uuid4() if session else UUID(key))
            session = sessions.receive_whole(
                lambda at_most: self.open(self.folder_of(file), replace(file, at_most=at_most)),
                read_file(request).chunk,
            )
        headers = {"Location": place} if (place := self.location(session)) else {}
        return Response({"location": place}, file_status(session), headers=headers)

    def retrieve(self, request: Request, session_id: str, **_: str) -> HttpResponseBase:
        """Redirect to the file that was sent with the key."""
        session = sessions.require_live(self.find(session_id))
        location = self.location(session)
        if location is None:
            return Response(status=file_status(session))
        return HttpResponseRedirect(location)


class UppyUploadViewSet(UppyView):
    """The endpoints of one upload in parts."""

    scope = "uploads-chunk"
    throttle_classes = (ScopedRateThrottle,)  # A rate for all requests of a user must not apply to parts.

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        exempt_from_csrf(request)
        return super().initialize_request(request, *args, **kwargs)

    def sign_part(self, request: Request, session_id: str, number: int, **_: str) -> Response:
        """Return the URL for a part."""
        session = sessions.require_live(self.find(session_id))
        sessions.check_number(session, number, RULES)
        if url := self._signed(session, number):
            return Response({"url": url})
        path = self.address("part", session_id=session_id, number=number)
        return Response({"url": request.build_absolute_uri(path)})

    def _signed(self, session: UploadSession, number: int) -> str:
        """Return the store's own signed URL if the portal offers that way, else empty text."""
        store, given = get_store(session.storage), session.metadata.get(PART_SIZE, "")
        if not _is_number(given) or session.mode == Mode.NUMBERED or not direct.is_offered(session):
            return ""
        size = max(int(given), MIN_PART_SIZE, -(-session.file_size // MAX_PARTS))  # as the plugin does
        if store.writes_anywhere or session.file_size > size * store.max_parts:
            return ""
        try:
            (part,) = direct.sign_parts(session, {number: None}, size)
        except direct.DirectUnsupported:
            if session.mode == Mode.DIRECT:
                raise
            return ""
        return part.signed.url

    def receive(self, request: Request, session_id: str, number: int, **_: str) -> Response:
        """Store a part, replacing an earlier part with the same number."""
        session = self.find(session_id)
        http = django_request(request)
        require_identity(http)
        chunk = Chunk(read_blocks(http), rules=RULES, **body_options(http))
        session = sessions.receive_numbered(session, chunk, number)
        stored = _etags(session, number)
        if number not in stored:  # The session was aborted right after the part was stored.
            raise SessionAborted
        return Response(headers={"ETag": stored[number][0]})

    def list_parts(self, request: Request, session_id: str, **_: str) -> Response:
        """Return the stored parts."""
        session = sessions.require_live(self.find(session_id))
        parts = _etags(session).items()
        return Response([{"PartNumber": number, "Size": size, "ETag": etag} for number, (etag, size) in parts])

    def complete(self, request: Request, session_id: str, **_: str) -> Response:
        """Complete the file from its parts."""
        session = self.find(session_id)
        named = _named(json_object(read_fields_body(django_request(request), is_list=True)))
        if session.state == State.OPEN:
            stored = {number: etag.strip('"') for number, (etag, _) in _etags(session).items()}
            changed = [number for number, etag in named.items() if stored.get(number, etag) != etag]
            if changed:
                raise PartChanged(number=changed[0])
        if session.mode == Mode.DIRECT:
            session = direct.complete_direct(session)
        else:
            session = sessions.finalize(session, RULES, numbers=[*named])
        body = {"location": self.location(session), "bucket": "", "key": session.file_name}
        return Response(body, file_status(session, completed=200))

    def destroy(self, request: Request, session_id: str, **_: str) -> Response:
        """End the upload. The file of a completed upload belongs to the portal and stays."""
        self.end(session_id)
        return Response({})


def _is_json(request: HttpRequest) -> bool:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"


def _etags(session: UploadSession, *numbers: int) -> dict[int, tuple[str, int]]:
    """Return the ETag (a name of the content) and the size of each stored part.

    The size is in bytes.
    """
    if session.mode == Mode.DIRECT:
        size = session.part_size or 1
        return {row.offset // size + 1: (row.etag, row.size) for row in direct.list_direct(session)}
    rows = session.numbered_chunks.filter(crc32__isnull=False, **({"number__in": numbers} if numbers else {}))
    return {row.number: (f'"{row.crc32:08x}-{row.size:x}"', row.size or 0) for row in rows}


def _file_request(fields: dict[str, Any]) -> FileRequest:
    """Return the file that the plugin describes: its name, type and metadata."""
    given = fields.get("metadata") or {}
    if not isinstance(given, dict):
        message = "metadata must be an object."
        raise InvalidRequest(message)
    pairs = {_storable(name): _storable(value) for name, value in given.items() if value is not None}
    names = {"filename": str(fields.get("filename") or ""), "filetype": str(fields.get("type") or "")}
    size = metadata.first_value(pairs, SIZES)
    for name, value in (("size", size), (PART_SIZE, pairs.get(PART_SIZE))):
        if value and not _is_number(value):
            message = f"metadata.{name} must be a number of bytes."
            raise InvalidRequest(message)
    file = metadata.file_request(pairs | names, int(size) if size else None, RULES)
    return replace(file, metadata=pairs)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _storable(value: object) -> str:
    """Return text that any database stores: JSON may have unpaired surrogates and NUL."""
    return str(value).encode(errors="replace").decode().replace("\0", "\ufffd")


def _named(fields: dict[str, Any]) -> dict[int, str]:
    """Return the numbers and ETags of the parts that the client names; raise InvalidRequest."""
    try:
        named = {part["PartNumber"]: str(part["ETag"]).strip('"') for part in fields["parts"]}
    except (KeyError, TypeError) as error:
        message = "parts must be a list of objects with PartNumber and ETag."
        raise InvalidRequest(message) from error
    if not all(type(number) is int and 1 <= number <= MAX_PARTS for number in named):
        message = f"PartNumber must be a number from 1 to {MAX_PARTS}."
        raise InvalidRequest(message)
    return named
