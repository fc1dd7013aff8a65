"""What Uppy's S3 plugin asks its companion, on upload sessions: the bytes go through the app.

``path("uppy/", include("uploads.protocols.companion.urls"))``, and in the page
``uppy.use(AwsS3, {companionEndpoint: "/uppy"})``. The folder is the URL's, as for tus, or ``meta.folderId``.
"""

from __future__ import annotations

from django.urls import path

from uploads.protocols.companion.views import CreateViewSet, FileViewSet, UploadViewSet

app_name = "companion"

urlpatterns = [
    path("s3/multipart", CreateViewSet.as_view({"post": "create"}), name="uploads"),
    path("s3/multipart/<str:session_id>", UploadViewSet.as_view({"get": "list_parts", "delete": "destroy"})),
    path("s3/multipart/<str:session_id>/complete", UploadViewSet.as_view({"post": "complete"})),
    path(
        "s3/multipart/<str:session_id>/<int:number>",
        UploadViewSet.as_view({"get": "sign_part", "put": "receive"}),
        name="part",
    ),
    path("s3/params", CreateViewSet.as_view({"get": "sign_file"})),
    path("s3/file", FileViewSet.as_view({"post": "receive"}), name="file"),
]
