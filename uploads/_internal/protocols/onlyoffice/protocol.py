"""Register the protocol's checks and probes for ``manage.py check`` and the doctor."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from django.core.checks import CheckMessage, Error, Warning
from django.urls import NoReverseMatch, get_script_prefix, resolve, reverse

from uploads._internal import registry
from uploads._internal.http import routes
from uploads._internal.http.probes import probe_upload
from uploads._internal.protocols.onlyoffice import conf
from uploads._internal.registry import Finding

PACKAGE = "uploads._internal.protocols.onlyoffice"


def is_included() -> bool:
    return any(routes.names_of("location", PACKAGE))


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
        'urlpatterns += [path("", include("uploads.urls.onlyoffice"))], at the root: '
        "clients build URLs from the origin."
    )
    elsewhere, is_at_root = [], False
    for name in routes.names_of("location", PACKAGE):
        try:
            location = reverse(name)
        except NoReverseMatch:
            text = f"{name} has path parameters before it: only clients that follow the location they get work."
            elsewhere.append(Warning(text, hint=hint, id="uploads.W003"))
            continue
        below = location.removeprefix(get_script_prefix())
        is_at_root |= below == "ChunkedUploader.ashx"
        if below != "ChunkedUploader.ashx":
            text = f"uploads.urls.onlyoffice is not included at the root, but at {location}."
            elsewhere.append(Warning(text, hint=hint, id="uploads.W003"))
        if not routes.is_of(resolve(f"/{below}").func, PACKAGE):
            text = f"Another view, included before uploads.urls.onlyoffice, answers {location}."
            yield Warning(
                text,
                hint="Include uploads.urls.onlyoffice before patterns that match anything.",
                id="uploads.W007",
            )
    if not is_at_root:  # Of several destinations, one can be at the root.
        yield from elsewhere


def probe(url: str) -> Iterator[Finding]:
    """Send a chunk to a missing session, raw and as a form; report who answers."""
    if not is_included():
        return
    below = routes.below_prefix("location", PACKAGE)
    path = None if below is None else f"{below}?uid={uuid.uuid4().hex}"
    for form in (False, True):
        yield probe_upload(url, path, conf.current().chunk_size, lambda body: body["error"]["type"], form=form)


registry.register(registry.UploadProtocol("onlyoffice", is_included, check, probe))
