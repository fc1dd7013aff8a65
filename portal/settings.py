"""Settings of the demo portal, from the environment; ``make run`` sets missing variables.

The sections "Uploads" and "Storage" concern ``uploads``; the rest is common to Django portals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environ
from botocore.config import Config
from celery.schedules import crontab
from corsheaders.defaults import default_headers

from uploads.contrib import cors

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
DATA_DIR = Path(env("DATA_DIR", default=str(BASE_DIR / "var"))).resolve()
# ``make run`` writes its variables here for manage.py in another terminal.
environ.Env.read_env(DATA_DIR / "environment")

SECRET_KEY = env("SECRET_KEY")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
if env.bool("BEHIND_PROXY", default=False):
    USE_X_FORWARDED_HOST = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "uploads",
    "portal",
]

MIDDLEWARE = [
    "corsheaders.middleware.CorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "uploads.forms.middleware.UploadFormMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES: dict[str, Any] = {"default": env.db("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'portal.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Write-ahead log: readers do not wait for the writer. Immediate: writers queue instead of failing.
    DATABASES["default"]["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }
# A server that accepts connections but never answers must not block requests indefinitely.
elif DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 5,
        "tcp_user_timeout": 15_000,
        "options": "-c statement_timeout=60000",
        **DATABASES["default"].get("OPTIONS", {}),
    }
elif DATABASES["default"]["ENGINE"] == "django.db.backends.mysql":
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 5,
        "read_timeout": 60,
        "write_timeout": 60,
        **DATABASES["default"].get("OPTIONS", {}),
    }
# Opening a connection for each chunk costs more than all its queries.
DATABASES["default"]["CONN_MAX_AGE"] = 60
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "uploads.contrib.onlyoffice.authentication.BearerAuthentication",
        "uploads.contrib.onlyoffice.authentication.RawTokenAuthentication",
        "rest_framework.authentication.BasicAuthentication",
        "uploads.contrib.onlyoffice.authentication.SameOriginSessionAuthentication",
        "uploads.contrib.onlyoffice.authentication.CookieTokenAuthentication",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}

# Pages of these origins may also upload; they send a token, not the cookie.
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_ALLOW_HEADERS = (*default_headers, *cors.ALLOW_HEADERS)
CORS_EXPOSE_HEADERS = cors.EXPOSE_HEADERS

SPECTACULAR_SETTINGS = {
    "TITLE": "Upload sessions",
    "VERSION": "1",
    "DESCRIPTION": "Open a session, send chunks to its location, get the file.",
    "SERVE_INCLUDE_SCHEMA": False,
    "PREPROCESSING_HOOKS": ["portal.schema.only_uploads"],
    # The pages come from the sidecar package, so that they work offline.
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# Storage

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
WHITENOISE_USE_FINDERS = True

S3_BUCKET = env("AWS_STORAGE_BUCKET_NAME", default="")
S3_STORAGE: dict[str, Any] = {
    "BACKEND": "storages.backends.s3.S3Storage",
    "OPTIONS": {
        "bucket_name": S3_BUCKET,
        "endpoint_url": env("AWS_S3_ENDPOINT_URL", default=None),
        "region_name": env("AWS_S3_REGION_NAME", default="us-east-1"),
        # Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which boto3 reads itself.
        "file_overwrite": False,
        "client_config": Config(
            signature_version="s3v4",
            s3={
                "addressing_style": "path" if env("AWS_S3_ENDPOINT_URL", default=None) else "auto",
                # Parts travel with a CRC-32 that the store verifies; hashing them again to sign them is wasted.
                "payload_signing_enabled": False,
            },
            max_pool_connections=50,
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": 3},
        ),
    },
}
FILE_STORAGE = {
    "BACKEND": "django.core.files.storage.FileSystemStorage",
    "OPTIONS": {"location": DATA_DIR / "files"},
}
STORAGES = {
    "default": S3_STORAGE if S3_BUCKET else FILE_STORAGE,
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# Uploads

PRESIGNED_DOWNLOADS: bool = env.bool("PRESIGNED_DOWNLOADS", default=False)
UPPY_DIR = Path(env("UPPY_DIR", default=str(DATA_DIR / "uppy" / "node_modules" / "uppy" / "dist")))
"""Directory of Uppy's bundle from ``make uppy``; without it, the portal has no dashboard page."""
QUOTA: int | None = env.int("QUOTA", default=None)
"""Maximum size of all files of a user, in bytes."""
UPLOADS: dict[str, Any] = {
    "DESTINATION": "portal.destination.PortalDestination",
    # Some clients send chunks of 1 or 5 MiB: UPLOADS_MIN_CHUNK_SIZE=512 allows them.
    "MIN_CHUNK_SIZE": env.int("UPLOADS_MIN_CHUNK_SIZE", default=10 * 2**20),
    "CHUNK_MULTIPLE": env.int("UPLOADS_CHUNK_MULTIPLE", default=512),
    "MAX_OPEN_SESSIONS": env.int("UPLOADS_MAX_OPEN_SESSIONS", default=100),
    "DIRECT": env.bool("UPLOADS_DIRECT", default=False),
    "PARALLEL_PARTS": env.int("UPLOADS_PARALLEL_PARTS", default=2),
    "PART_SIZE": env.int("UPLOADS_PART_SIZE", default=10 * 2**20),
    "INTERIM_RESPONSES": env.bool("UPLOADS_INTERIM_RESPONSES", default=False),
}

CELERY_BROKER_URL = env("CELERY_BROKER_URL", default="filesystem://localhost")  # kombu warns if there is no host
CELERY_TASK_DEFAULT_QUEUE = env("CELERY_QUEUE", default="celery")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
if CELERY_BROKER_URL.startswith("filesystem:"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(DATA_DIR / "broker" / "queue"),
        "data_folder_out": str(DATA_DIR / "broker" / "queue"),
        "control_folder": str(DATA_DIR / "broker" / "control"),
    }
CELERY_IMPORTS = ["portal.tidy"]
CELERY_BEAT_SCHEDULE = {
    "expire-uploads": {"task": "uploads.tasks.expire_sessions", "schedule": 300.0, "options": {"expires": 300}},
    "complete-uploads": {"task": "uploads.tasks.complete_sessions", "schedule": 30.0, "options": {"expires": 30}},
    "audit-uploads": {
        "task": "uploads.tasks.audit_store",
        "schedule": crontab(hour=3, minute=17),
        "kwargs": {"fix": env.bool("AUDIT_FIX", default=False)},
    },
    "empty-old-trash": {"task": "portal.tidy.empty_old_trash", "schedule": crontab(hour=2, minute=47)},
}

METRICS_TOKEN = env("METRICS_TOKEN", default="")
"""Bearer token of Prometheus for /metrics; staff need none."""

USE_TZ = True
TIME_ZONE = env("TIME_ZONE", default="UTC")
LANGUAGE_CODE = "en-us"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO")},
    "loggers": {"botocore": {"level": "WARNING"}, "boto3": {"level": "WARNING"}},
}
