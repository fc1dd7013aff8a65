"""A Wagtail site with Wagtail's own documents, images and collections."""

from startproject import *  # noqa: F403

SECRET_KEY = "wagtail"
INSTALLED_APPS = [
    "wagtail.users",
    "wagtail.snippets",
    "wagtail.documents",
    "wagtail.images",
    "wagtail.admin",
    "wagtail",
    "modelcluster",
    "taggit",
    *INSTALLED_APPS,
    "rest_framework",
    "uploads",
]
WAGTAIL_SITE_NAME = "Wagtail"
WAGTAILADMIN_BASE_URL = "http://testserver"
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]}

UPLOADS = {
    "DESTINATIONS": {
        "default": {"BACKEND": "destination.Documents"},
        "images": {"BACKEND": "destination.Images"},
    },
    "MAX_FILE_SIZE": 2**40,
}
