"""A Wagtail site with Wagtail's own documents and collections."""

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
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "uploads",
]
WAGTAIL_SITE_NAME = "Wagtail"
WAGTAILADMIN_BASE_URL = "http://testserver"

UPLOADS = {"DESTINATION": "destination.Documents", "MAX_FILE_SIZE": 2**40}
