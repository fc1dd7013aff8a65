"""A portal with strict settings that make no exception for uploads."""

import os

from startproject import *  # noqa: F403

SECRET_KEY = "strict, and long enough for what signs tokens with it"
FORCE_SCRIPT_NAME = "/intranet"
INSTALLED_APPS = [
    "corsheaders",
    *INSTALLED_APPS,
    "rest_framework",
    "library",
    "uploads",
]
MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "library.strictness.Transactions",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if os.environ.get("MARIADB"):
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": os.environ["MARIADB"],
            "HOST": "127.0.0.1",
            "USER": "root",
            "OPTIONS": {"charset": "utf8mb4"},
        }
    }
DATABASES["default"]["ATOMIC_REQUESTS"] = True
SILENCED_SYSTEM_CHECKS = ["uploads.W003"]  # The API has a prefix; clients follow the location that they get.
USE_TZ = False
TIME_ZONE = "Europe/Berlin"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024
CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
CONTENT_SECURITY_POLICY = {"DIRECTIVES": {"default-src": ["'none'"], "style-src": ["'self'"]}}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework_simplejwt.authentication.JWTAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["library.strictness.Enveloped"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_VERSIONING_CLASS": "rest_framework.versioning.AcceptHeaderVersioning",
    "ALLOWED_VERSIONS": ["v9"],
    "DEFAULT_VERSION": "v9",
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.UserRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": "1000/day"},
    "DEFAULT_PAGINATION_CLASS": "rest_framework.pagination.PageNumberPagination",
    "PAGE_SIZE": 10,
    "EXCEPTION_HANDLER": "library.strictness.handle",
}

UPLOADS = {
    "DESTINATION": "",
    "DESTINATIONS": {
        "default": {
            "BACKEND": "uploads.destinations.ModelDestination",
            "OPTIONS": {"model": "library.Book", "folder_field": "shelf", "permission": "of_reader"},
        }
    },
}
