"""URLs that Uppy's S3 plugin expects of a Companion, implemented with upload sessions.

The bytes go through the app. Include ``path("uppy/", include("uploads.urls.uppy"))``. In the page, write
``uppy.use(AwsS3, {companionEndpoint: "/uppy"})``. The URL names the folder, as for tus, or ``meta.folderId`` does.
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
    path("s3/file", UppyFileViewSet.as_view({"post": "receive"}), name="files"),
    path("s3/file/<str:session_id>", UppyFileViewSet.as_view({"get": "retrieve"})),
]
