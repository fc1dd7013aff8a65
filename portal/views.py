from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connection
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from portal.celery import app
from portal.models import File, Folder
from uploads.contrib.downloads import Content
from uploads.contrib.downloads import download as send
from uploads.http.views import JSONAlways
from uploads.protocols.onlyoffice import conf

logger = logging.getLogger(__name__)


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Go to the user's root folder, which is made at the first visit."""
    root, _ = Folder.objects.get_or_create(owner_id=request.user.pk, parent=None, defaults={"title": "My documents"})
    return redirect(root)


@login_required
def folder(request: HttpRequest, folder_id: int) -> HttpResponse:
    shown = get_object_or_404(Folder, pk=folder_id, owner=request.user)
    return render(
        request,
        "portal/folder.html",
        {
            "folder": shown,
            "breadcrumb": Folder.objects.filter(pk__in=shown.ancestors).order_by("pk"),
            "folders": shown.folders.all(),
            "files": shown.files.all(),
            "chunk_size": conf.current().chunk_size,
        },
    )


@api_view(["GET", "HEAD"])
@permission_classes([IsAuthenticated])
def download(request: Request, file_id: int) -> HttpResponseBase:
    """Send a file to its owner; the API's authentication applies, so that programs can follow a viewUrl."""
    file = File.objects.filter(pk=file_id, folder__owner=request.user.pk).first()
    if file is None:
        raise Http404
    content = Content(
        storage="default",
        name=str(file.content.name),
        title=file.title,
        content_type=file.content_type,
        size=file.size,
        etag=f"{file.crc32:08x}-{file.size}",
        modified=file.updated,
    )
    return send(request._request, content)  # noqa: SLF001 - DRF's request is no HttpRequest


download.cls.content_negotiation_class = JSONAlways  # a client that accepts only bytes is right here


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 if database, store and broker answer, else 503 with the reason."""
    failed = {}
    for name, check in CHECKS.items():
        try:
            check()
        except Exception as error:  # Whatever it is, it is the reason.
            logger.warning("health: %s: %s", name, error)
            failed[name] = type(error).__name__
    status = {name: failed.get(name, "ok") for name in CHECKS}
    return JsonResponse(status, status=503 if failed else 200)


def _check_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _check_store() -> None:
    storage: Any = default_storage
    if isinstance(storage, FileSystemStorage):
        Path(storage.location).mkdir(parents=True, exist_ok=True)
        if not os.access(storage.location, os.W_OK):
            raise PermissionError(storage.location)
    else:
        storage.connection.meta.client.head_bucket(Bucket=storage.bucket_name)


def _check_broker() -> None:
    with app.connection_for_write() as broker:
        broker.ensure_connection(max_retries=1, timeout=2)


CHECKS: dict[str, Callable[[], None]] = {
    "database": _check_database,
    "store": _check_store,
    "broker": _check_broker,
}
