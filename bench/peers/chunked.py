"""drf-chunked-upload and a bare DRF view; gunicorn serves ``chunked:application``."""

import os
import sys
from pathlib import Path

from django.conf import settings

DIRECTORY = Path(os.environ["BENCH_DIRECTORY"])
settings.configure(
    SECRET_KEY="bench",
    DEBUG_PROPAGATE_EXCEPTIONS=True,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "drf_chunked_upload"],
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "DEFAULT_PERMISSION_CLASSES": []},
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": DIRECTORY / "peer.sqlite3",
            "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL", "transaction_mode": "IMMEDIATE", "timeout": 20},
        }
    },
    MEDIA_ROOT=DIRECTORY / "media",
    DRF_CHUNKED_UPLOAD_CHECKSUM="md5",
    DRF_CHUNKED_UPLOAD_ABSTRACT_MODEL=False,  # otherwise the model has no table
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)

from django.core.wsgi import get_wsgi_application  # noqa: E402

application = get_wsgi_application()

from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.urls import path, re_path  # noqa: E402
from drf_chunked_upload.models import ChunkedUpload  # noqa: E402
from drf_chunked_upload.views import ChunkedUploadView  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Somebody(BaseAuthentication):
    """Return a fixed user without a query: uploads need an owner."""

    def authenticate(self, request):
        return User(pk=1), None


class UploadView(ChunkedUploadView):
    authentication_classes = (Somebody,)
    model = ChunkedUpload
    do_checksum_check = False


class BareSerializer(serializers.Serializer):
    fileName = serializers.CharField()  # noqa: N815


class BareView(APIView):
    """Validate one field and write one row, without authentication."""

    def post(self, request):
        fields = BareSerializer(data=request.data)
        fields.is_valid(raise_exception=True)
        row = Group.objects.create(name=os.urandom(16).hex())
        return Response({"id": row.pk, "fileName": fields.validated_data["fileName"]})


urlpatterns = [
    path("bare", BareView.as_view()),
    path("upload/", UploadView.as_view()),
    re_path(r"^upload/(?P<pk>[^/]+)$", UploadView.as_view(), name="chunkedupload-detail"),
]

if __name__ == "__main__":
    call_command("migrate", run_syncdb=True, verbosity=0)
    User.objects.get_or_create(username="somebody")
    sys.exit()
