"""The app, included at various places of a portal's URLs."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import include, path, re_path
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from portal import urls as portal_urls
from portal.models import Folder
from tests.helpers import Uploader
from uploads._internal.checks import check_settings
from uploads._internal.stores.base import Store
from uploads.models import UploadSession
from uploads.urls import onlyoffice as upload_urls

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_chunks", "file_store")]
UseUrls = Callable[..., None]


@pytest.fixture
def use_urls(settings: Any, monkeypatch: pytest.MonkeyPatch) -> UseUrls:
    protocols = ("upload_sessions", "tus", "uppy", "upload_forms")
    others = [route for route in portal_urls.urlpatterns[1:] if getattr(route, "app_name", None) not in protocols]

    def use(*routes: Any) -> None:
        urlconf = types.ModuleType("a_urlconf")
        urlconf.urlpatterns = [*routes, *others]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "a_urlconf", urlconf)
        settings.ROOT_URLCONF = "a_urlconf"
        settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "UploadForm" not in name]

    return use


def anything(request: HttpRequest, **_: str) -> HttpResponse:
    return HttpResponse("a page of the portal")


OURS = include("uploads.urls.onlyoffice")
AROUND = {
    "in-a-namespace": (path("", include(([path("", OURS)], "theirs"))), ""),
    "behind-a-parameter": (path("<slug:tenant>/", OURS), "/acme"),
    "both": (path("<slug:tenant>/v1/", include(([path("", OURS)], "theirs"), namespace="v1")), "/acme/v1"),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("versioning", ["NamespaceVersioning", "URLPathVersioning", "AcceptHeaderVersioning"])
def test_uploads_work_under_any_include(
    use_urls: UseUrls, api: APIClient, root: Folder, monkeypatch: pytest.MonkeyPatch, around: str, versioning: str
) -> None:
    from rest_framework import versioning as drf

    monkeypatch.setattr(api_settings, "DEFAULT_VERSIONING_CLASS", getattr(drf, versioning))
    monkeypatch.setattr(api_settings, "ALLOWED_VERSIONS", ["v9"])
    route, prefix = AROUND[around]
    use_urls(route)
    uploader = Uploader(api, root.pk)
    uploader.url = prefix + uploader.url
    session = uploader.create(4)
    assert f"{prefix}/ChunkedUploader.ashx?uid=" in session["location"]
    assert uploader.send(session, b"ab").json()["data"]["bytes_uploaded"] == 2
    assert uploader.state(session)["bytes_uploaded"] == 2
    assert uploader.send(session, b"cd").status_code == 201
    assert api.get(f"{prefix}/api/2.0/files/1/session/{session['id']}").status_code == 200
    assert api.get(f"{prefix}/api/2.0/files/settings").status_code == 200


def test_missing_location_route_leaves_no_session(
    use_urls: UseUrls, api: APIClient, root: Folder, store: Store
) -> None:
    use_urls(*[route for route in upload_urls.urlpatterns if route.name == "create_session"])
    answer = api.post(Uploader(api, root.pk).url, {"FileName": "a", "FileSize": 1}, format="json")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "location_unknown")
    assert not UploadSession.objects.exists()


@pytest.mark.parametrize(
    ("routes", "ids"),
    [
        pytest.param([path("", OURS)], [], id="as-documented"),
        pytest.param([AROUND["in-a-namespace"][0]], [], id="in-a-namespace"),
        pytest.param([AROUND["behind-a-parameter"][0]], ["uploads.W003"], id="behind-a-parameter"),
        pytest.param([path("files/", OURS)], ["uploads.W003"], id="below"),
        pytest.param([re_path("^(?P<page>.*)$", anything), path("", OURS)], ["uploads.W007"], id="behind-a-catch-all"),
        pytest.param([], ["uploads.W002"], id="not-at-all"),
        pytest.param([path("any/where/", include("uploads.urls.tus"))], [], id="another-protocol"),
    ],
)
def test_checks_report_unreachable_routes(use_urls: UseUrls, routes: list[Any], ids: list[str]) -> None:
    use_urls(*routes)
    assert [message.id for message in check_settings()] == ids


TUS = include(("uploads.urls.tus", "tus"), namespace="avatars")


def test_missing_slash_is_redirected(api: APIClient, root: Folder) -> None:
    answer = api.post("/tus?name=a.txt", HTTP_UPLOAD_LENGTH="3", HTTP_TUS_RESUMABLE="1.0.0")
    assert (answer.status_code, answer["Location"]) == (308, "/tus/?name=a.txt")


@pytest.mark.parametrize(
    ("route", "prefix"),
    [
        pytest.param(path("avatars/", TUS, {"folder_id": "@my"}), "/avatars/", id="with-a-folder-given-along"),
        pytest.param(path("<slug:tenant>/tus/", TUS), "/acme/tus/", id="behind-a-parameter"),
        pytest.param(path("<slug:tenant>/", include(([path("t/", TUS)], "theirs"))), "/acme/t/", id="both"),
    ],
)
def test_tus_works_under_any_include(use_urls: UseUrls, api: APIClient, root: Folder, route: Any, prefix: str) -> None:
    use_urls(route)
    headers: dict[str, Any] = {"HTTP_TUS_RESUMABLE": "1.0.0"}
    url = api.post(prefix, HTTP_UPLOAD_LENGTH="3", HTTP_ORIGIN="http://testserver", **headers)["Location"]
    assert url == f"{prefix}{UploadSession.objects.get().pk.hex}"
    of_program = api.post(prefix, HTTP_UPLOAD_LENGTH="3", **headers)["Location"]
    assert of_program == f"http://testserver{prefix}{UploadSession.objects.latest('created_at').pk.hex}"
    kind = "application/offset+octet-stream"
    answer = api.generic("PATCH", url, b"abc", content_type=kind, HTTP_UPLOAD_OFFSET="0", **headers)
    assert answer.status_code == 204
    assert {session.folder_id for session in UploadSession.objects.all()} == {str(root.pk)}
