"""A portal with django-filer's files, images, folders and permissions."""

from startproject import *  # noqa: F403

SECRET_KEY = "filer"
INSTALLED_APPS += ["easy_thumbnails", "filer", "rest_framework", "uploads"]
FILER_ENABLE_PERMISSIONS = True
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]}

UPLOADS = {
    "DESTINATIONS": {
        "default": {"BACKEND": "destination.Files"},
        "images": {"BACKEND": "destination.Images"},
    },
    "MAX_FILE_SIZE": 2**40,
}
