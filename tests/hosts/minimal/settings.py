"""A portal with Django's own apps only: no models, no folders, no code."""

from startproject import *  # noqa: F403

SECRET_KEY = "minimal"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "rest_framework",
    "uploads",
]

UPLOADS = {"DESTINATION": "uploads.destinations.PlainDestination", "MAX_FILE_SIZE": 2**40}
