"""Include wherever uploads are to be: once, or once for each purpose.

``path("tus/", include("uploads.urls.tus"))``

The folder is the URL's: ``path("folders/<str:folder_id>/tus/", …)``, or given along:
``path("avatars/", include("uploads.urls.tus", namespace="avatars"), {"folder_id": "12"})``.
"""

from __future__ import annotations

from django.urls import path

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
            {"options": "discover", "head": "head", "get": "retrieve", "patch": "append", "delete": "destroy"}
        ),
        name="upload",
    ),
]
