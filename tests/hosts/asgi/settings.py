"""A portal that uvicorn serves."""

from startproject import *  # noqa: F403

SECRET_KEY = "asgi"
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
INSTALLED_APPS += ["rest_framework", "uploads"]
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]}

UPLOADS = {
    "DESTINATIONS": {"default": {"BACKEND": "uploads.destinations.PlainDestination"}},
    "MAX_FILE_SIZE": 2**40,
}
