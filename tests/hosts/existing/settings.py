"""An existing portal: users with UUIDs, folders with slugs as ids, files in S3."""

import os

from botocore.config import Config
from startproject import *  # noqa: F403

SECRET_KEY = "existing"
AUTH_USER_MODEL = "people.Person"
INSTALLED_APPS = [
    "unfold",  # replaces the theme of the admin
    *INSTALLED_APPS,
    "rest_framework",
    "rest_framework.authtoken",
    "people",
    "documents",
    "uploads",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "documents": {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": os.environ["AWS_STORAGE_BUCKET_NAME"],
            "endpoint_url": os.environ["AWS_S3_ENDPOINT_URL"],
            "region_name": "us-east-1",
            "location": "existing/media",
            "file_overwrite": False,
            "client_config": Config(s3={"addressing_style": "path", "payload_signing_enabled": False}),
        },
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"]}

UPLOADS = {
    "DESTINATIONS": {"default": {"BACKEND": "documents.destination.Documents"}},
    "STORAGE": "documents",
    "MAX_FILE_SIZE": 2**40,
}
