"""The portal's pages. Files arrive through the protocols of ``uploads``."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request

from portal import tidy
from portal.destination import as_id
from portal.forms import DocumentForm, FileForm, FolderForm
from portal.models import Attachment, Document, File, Folder, PreviousVersion
from uploads.contrib.downloads import Content
from uploads.contrib.downloads import download as send
from uploads.contrib.onlyoffice.views import JSONAlways

UPPY_PROTOCOLS = {"tus": "Uppy’s tus plugin", "s3": "Uppy’s S3 plugin", "own": "Built-in client"}


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Redirect to the user's root folder; create it at the first visit."""
    owner_id = request.user.pk or 0
    # Not get_or_create alone: without a database constraint, two first visits may have created two.
    root = Folder.objects.filter(owner_id=owner_id, parent=None).order_by("pk").first()
    new = {"title": "My documents"}
    return redirect(root or Folder.objects.get_or_create(owner_id=owner_id, parent=None, defaults=new)[0])


@login_required
def folder(request: HttpRequest, folder_id: int) -> HttpResponse:
    """Show a folder; a POST creates a subfolder."""
    shown = get_object_or_404(Folder, pk=folder_id, owner=request.user.pk)
    if shown.trashed:
        return redirect("trash")
    if request.method == "POST":
        new = Folder(owner=shown.owner, parent=shown, ancestors=shown.path)
        _save(request, FolderForm({"title": request.POST.get("title", "")}, instance=new, owner=request.user.pk))
        return redirect(shown)
    places = tidy.list_folders(request.user.pk)
    context = {
        "folder": shown,
        "breadcrumb": Folder.objects.filter(pk__in=shown.ancestors).order_by("pk"),
        "folders": [place for place in places if place.parent_id == shown.pk],
        "files": shown.files.filter(trashed=None),
        "places": places,
        "days": tidy.TRASH_DAYS,
        "has_uppy": _has_uppy(),
    }
    return render(request, "portal/folder.html", context)


@login_required
def uppy(request: HttpRequest, folder_id: int) -> HttpResponse:
    """Show Uppy's dashboard, which uploads into a folder by the protocol in ``?protocol=``."""
    shown = get_object_or_404(Folder, pk=folder_id, owner=request.user.pk, trashed=None)
    if not _has_uppy():
        raise Http404
    protocol = request.GET.get("protocol", "")
    context = {
        "folder": shown,
        "protocol": protocol if protocol in UPPY_PROTOCOLS else "tus",
        "protocols": UPPY_PROTOCOLS,
    }
    return render(request, "portal/uppy.html", context)


def _has_uppy() -> bool:
    return (settings.UPPY_DIR / "uppy.min.js").exists()


@login_required
@require_POST
def change_folder(request: HttpRequest, folder_id: int) -> HttpResponse:
    """Rename or move a folder, or put it into the trash; the root stays."""
    changed = get_object_or_404(Folder, pk=folder_id, owner=request.user.pk, parent__isnull=False)
    if changed.trashed:
        return redirect("trash")
    if "delete" in request.POST:
        return _delete(request, changed)
    if _save(request, FolderForm(request.POST, instance=changed, owner=request.user.pk)):
        tidy.mend_ancestors(changed)
    return _back(request, changed.get_absolute_url())


@login_required
def file(request: HttpRequest, file_id: int) -> HttpResponse:
    """Show a file and its versions.

    A POST renames or moves the file, puts it into the trash, or restores a version.
    """
    shown = get_object_or_404(File.objects.select_related("folder"), pk=file_id, folder__owner=request.user)
    if shown.trashed:
        return redirect("trash")
    if request.method == "POST":
        if "delete" in request.POST:
            return _delete(request, shown)
        if "restore" in request.POST:
            version = get_object_or_404(PreviousVersion, file=shown, version=as_id(request.POST["restore"]))
            try:
                tidy.restore_version(version)
            except PreviousVersion.DoesNotExist as error:
                raise Http404 from error
            messages.success(request, f"Restored version {version.version}.")
        else:
            _save(request, FileForm(request.POST, instance=shown, owner=request.user.pk))
        return _back(request, reverse("file", args=[shown.pk]))
    context = {
        "file": shown,
        "breadcrumb": Folder.objects.filter(pk__in=shown.folder.path).order_by("pk"),
        "versions": shown.previous_versions.all(),
        "places": tidy.list_folders(request.user.pk),
        "days": tidy.TRASH_DAYS,
    }
    return render(request, "portal/file.html", context)


@login_required
def trash(request: HttpRequest) -> HttpResponse:
    """Show the user's trash; a POST restores an item, or deletes all of them."""
    files = File.objects.filter(folder__owner=request.user.pk, trashed__isnull=False)
    folders = Folder.objects.filter(owner=request.user.pk, trashed__isnull=False)
    if request.method == "POST":
        items: Any = folders if "folder" in request.POST else files
        item = tidy.restore_from_trash(items, as_id(request.POST.get("folder") or request.POST.get("file", "")))
        if item:
            messages.success(request, f"Restored “{item}” to “{getattr(item, item.place)}”.")
        if "empty" in request.POST:
            count = tidy.empty_trash(folders, files)
            messages.success(request, f"Emptied the trash: deleted {count} file{pluralize(count)}.")
        return redirect("trash")
    context = {"items": tidy.list_trash(folders, files), "days": tidy.TRASH_DAYS, "file_count": files.count()}
    return render(request, "portal/trash.html", context)


@api_view(["GET", "HEAD"])
@permission_classes([IsAuthenticated])
def download(request: Request, file_id: int, version: int | None = None) -> HttpResponseBase:
    """Send a file to its owner.

    The API's authentication applies, so that programs can follow a viewUrl.
    """
    file = File.objects.filter(pk=file_id, folder__owner=request.user.pk, trashed=None).first()
    content: Any = file
    if file is not None and version is not None:
        content = file.previous_versions.filter(version=version).first()
    if file is None or content is None:
        raise Http404
    described = Content(
        storage="default",
        name=str(content.content.name),
        title=file.title,
        content_type=content.content_type,
        size=content.size,
        etag=f"{content.crc32:08x}-{content.size}",
        modified=content.updated,
    )
    presigned = settings.PRESIGNED_DOWNLOADS
    return send(request._request, described, presigned=presigned)  # noqa: SLF001 - DRF's request is no HttpRequest


download.cls.content_negotiation_class = JSONAlways  # Clients may accept only binary content types.


@login_required
def documents(request: HttpRequest, document_id: int | None = None) -> HttpResponse:
    """Show a form that receives its files through upload sessions.

    The POST itself has only a few hundred bytes.
    """
    mine = Document.objects.filter(owner=request.user.pk)
    edited = get_object_or_404(mine, pk=document_id) if document_id else None
    form = DocumentForm(request.POST or None, request.FILES or None, instance=edited)
    with transaction.atomic():  # Includes validation, so that all files are taken or none.
        if request.method == "POST" and form.is_valid():
            form.instance.owner_id = request.user.pk or 0
            document = form.save()
            for attached in form.cleaned_data["attachments"]:
                Attachment.objects.create(document=document, file=attached)
            messages.success(request, f"“{document}” saved.")
            return redirect("documents")
    listed = mine.annotate(attached=Count("attachments"))
    return render(request, "portal/documents.html", {"form": form, "documents": listed, "edited": edited})


@login_required
def document_file(request: HttpRequest, document_id: int) -> HttpResponseBase:
    document = get_object_or_404(Document, pk=document_id, owner=request.user.pk)
    if not document.file:
        raise Http404
    name = str(document.file.name)
    described = Content(
        storage="default",
        name=name,
        title=name.rpartition("/")[2],
        content_type="application/octet-stream",
        size=default_storage.size(name),
        etag=name.rpartition("/")[0],
        modified=document.created,
    )
    return send(request, described)


def _save(request: HttpRequest, form: Any) -> bool:
    """Create, rename or move an item, and tell the user what was done, or why not."""
    before, item, new = form.initial, form.instance, form.instance.pk is None
    if not form.is_valid():
        for payload in form.errors.values():
            messages.error(request, " ".join(payload))
        return False
    form.save()
    place = getattr(item, item.place)
    if new:
        messages.success(request, f"Created “{item}”.")
    elif item.title != before["title"]:
        messages.success(request, f"Renamed “{before['title']}” to “{item}”.")
    if place.pk != before[item.place]:
        messages.success(request, f"Moved “{item}” to “{place}”.")
    return True


def _delete(request: HttpRequest, item: File | Folder) -> HttpResponse:
    count = tidy.put_into_trash(item)
    content = f" with {count} file{pluralize(count)}" if isinstance(item, Folder) else ""
    messages.success(request, f"Moved “{item}”{content} to the trash.")
    return redirect(getattr(item, item.place))


def _back(request: HttpRequest, otherwise: str) -> HttpResponse:
    """Redirect to the page that the form was on."""
    page = request.POST.get("next", "")
    return redirect(page if url_has_allowed_host_and_scheme(page, {request.get_host()}) else otherwise)
