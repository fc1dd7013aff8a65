"""URLs of tus and resumable uploads. Include them once, or once for each purpose.

Example: ``path("tus/", include("uploads.urls.tus"))``

The folder is part of the URL, ``path("folders/<str:folder_id>/tus/", …)``, or an argument:
``path("avatars/", include("uploads.urls.tus", namespace="avatars"), {"folder_id": "12"})``.
"""

from __future__ import annotations

from django.urls import path

from uploads._internal.protocols.direct.views import PartsViewSet, PartViewSet
from uploads._internal.protocols.resources.views import CollectionViewSet, UploadViewSet

app_name = "tus"

urlpatterns = [
    path(
        "",
        CollectionViewSet.as_view({"options": "discover", "get": "list", "post": "create", "put": "create"}),
        name="uploads",
    ),
    path(
        "<str:session_id>",
        UploadViewSet.as_view(
            {
                "options": "discover",
                "head": "head",
                "get": "retrieve",
                "patch": "append",
                "put": "put",
                "delete": "destroy",
            }
        ),
        name="upload",
    ),
    path("<str:session_id>/parts", PartsViewSet.as_view({"get": "list", "post": "sign"}), name="parts"),
    path("<str:session_id>/parts/<int:number>", PartViewSet.as_view({"put": "receive"}), name="part"),
    path("<str:session_id>/complete", PartsViewSet.as_view({"post": "complete"}), name="complete"),
]
