"""A portal whose models hide deleted rows (django-safedelete) or are polymorphic, with forms of crispy-forms."""

from startproject import *  # noqa: F403

SECRET_KEY = "archive"
ROOT_URLCONF = "library.urls"
INSTALLED_APPS += [
    "crispy_forms",
    "crispy_bootstrap5",
    "polymorphic",
    "safedelete",
    "library",
    "rest_framework",
    "uploads",
]
MIDDLEWARE += ["uploads.forms.middleware.UploadFormMiddleware"]
CRISPY_TEMPLATE_PACK = "bootstrap5"
REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"]}

UPLOADS = {
    "DESTINATIONS": {
        "default": {"BACKEND": "library.destination.Documents"},
        "images": {
            "BACKEND": "uploads.destinations.ModelDestination",
            "OPTIONS": {"model": "library.Picture"},
        },
    },
    "MAX_FILE_SIZE": 2**40,
}
