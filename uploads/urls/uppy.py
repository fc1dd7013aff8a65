"""What Uppy's S3 plugin asks its companion, on upload sessions: the bytes go through the app.

``path("uppy/", include("uploads.urls.uppy"))``, and in the page
``uppy.use(AwsS3, {companionEndpoint: "/uppy"})``. The folder is the URL's, as for tus, or ``meta.folderId``.
"""

from __future__ import annotations

from django.urls import path

from uploads._internal.protocols.uppy.views import UppyCreateViewSet, UppyFileViewSet, UppyUploadViewSet

app_name = "uppy"

urlpatterns = [
    path("s3/multipart", UppyCreateViewSet.as_view({"post": "create"}), name="uploads"),
    path("s3/multipart/<str:session_id>", UppyUploadViewSet.as_view({"get": "list_parts", "delete": "destroy"})),
    path("s3/multipart/<str:session_id>/complete", UppyUploadViewSet.as_view({"post": "complete"})),
    path(
        "s3/multipart/<str:session_id>/<int:number>",
        UppyUploadViewSet.as_view({"get": "sign_part", "put": "receive"}),
        name="part",
    ),
    path("s3/params", UppyCreateViewSet.as_view({"get": "sign_file"})),
    path("s3/file", UppyFileViewSet.as_view({"post": "receive"}), name="file"),
]
