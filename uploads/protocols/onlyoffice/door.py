"""What this door brings along for ``manage.py check`` and for the doctor."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.urls import NoReverseMatch, URLResolver, get_resolver, get_script_prefix, resolve, reverse

from uploads import doors
from uploads.doors import Finding
from uploads.exceptions import TransactionOpen
from uploads.protocols.onlyoffice import conf


def check() -> Iterator[CheckMessage]:
    yield from _check_chunk_sizes()
    yield from _check_urls()


def _check_chunk_sizes() -> Iterator[CheckMessage]:
    config = conf.current()
    if not config.MIN_CHUNK_SIZE <= config.chunk_size <= (config.MAX_CHUNK_SIZE or config.chunk_size):
        yield Error(
            "settings.UPLOADS leaves no size for a chunk that is not the last.",
            hint="A multiple of CHUNK_MULTIPLE must be between MIN_CHUNK_SIZE and MAX_CHUNK_SIZE.",
            id="uploads.E024",
        )


def _check_urls() -> Iterator[CheckMessage]:
    hint = (
        'urlpatterns += [path("", include("uploads.protocols.onlyoffice.urls"))], at the root: '
        "clients build URLs from the origin."
    )
    found = list(_location_names(get_resolver(), ()))
    if not found:
        yield Warning("uploads.protocols.onlyoffice.urls is not included in the URLconf.", hint=hint, id="uploads.W002")
    for name in found:
        try:
            location = reverse(name)
        except NoReverseMatch:
            text = f"{name} has path parameters before it: only clients that follow the location they get work."
            yield Warning(text, hint=hint, id="uploads.W003")
            continue
        below = location.removeprefix(get_script_prefix())
        if below != "ChunkedUploader.ashx":
            text = f"uploads.protocols.onlyoffice.urls is not included at the root, but at {location}."
            yield Warning(text, hint=hint, id="uploads.W003")
        if not _is_ours(resolve(f"/{below}").func):
            text = f"Another view, included before uploads.protocols.onlyoffice.urls, answers {location}."
            yield Warning(
                text,
                hint="Include uploads.protocols.onlyoffice.urls before patterns that match anything.",
                id="uploads.W007",
            )


def _location_names(resolver: URLResolver, namespaces: tuple[str, ...]) -> Iterator[str]:
    """Yield the names by which the location can be reversed."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _location_names(entry, (*namespaces, entry.namespace) if entry.namespace else namespaces)
        elif entry.name == "location" and _is_ours(entry.callback):
            yield ":".join((*namespaces, "location"))


def _is_ours(view: Any) -> bool:
    return getattr(getattr(view, "cls", None), "__module__", "") == "uploads.protocols.onlyoffice.views"


def probe(url: str) -> Iterator[Finding]:
    yield _way(url)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would come without its body, and prove nothing."""

    def redirect_request(self, *_: object) -> None:
        return None


def _way(url: str) -> Finding:
    """Send a body of a chunk's size to a session that does not exist: who answers, the app or something before it?"""
    size = conf.current().chunk_size
    below = _location_below_prefix()
    if below is None:
        return Finding("way", good=False, text="the URLs have no location that can be told without a request")
    address = f"{url.rstrip('/')}/{below}?uid={uuid.uuid4().hex}"
    if not address.startswith(("http://", "https://")):
        return Finding("way", good=False, text=f"{url} is not an http(s) address")
    request = urllib.request.Request(address, bytes(size), {"Content-Type": "application/octet-stream"})  # noqa: S310
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=120) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    except OSError as error:
        return Finding("way", good=False, text=f"{url} does not take a body of {size} bytes: {error}")
    try:
        code = json.loads(body)["error"]["type"]
    except (ValueError, KeyError, TypeError):
        code = ""
    if code == TransactionOpen.code:
        text = "something runs requests in a database transaction (middleware?): exempt the upload URLs from it"
        return Finding("way", good=False, text=text)
    if code and status in (401, 404):
        return Finding("way", good=True, text=f"a chunk of {size} bytes gets through to the app at {url}")
    hint = "look there"
    if status == 413:
        hint = "raise the limit for bodies before the app (nginx: client_max_body_size 0)"
    elif 300 <= status < 400:
        hint = "give the address where the portal really is"
    return Finding(
        "way", good=False, text=f"something before the app answers a chunk of {size} bytes with {status}: {hint}"
    )


def _location_below_prefix() -> str | None:
    """Return the location's path below the portal's own prefix, or None if it depends on the request."""
    for name in _location_names(get_resolver(), ()):
        with suppress(NoReverseMatch):
            return reverse(name).removeprefix(get_script_prefix())
    return None


doors.register(doors.Door("onlyoffice", check, probe))
