"""What most portals tell the contract: editors, Django's sessions, one place for all files."""

import base64

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.storage import default_storage
from django.test import Client as DjangoClient

from uploads.models import State, UploadSession

ROOT, TUS, ADMIN = "", "/folders/{folder}/tus/", "/admin/"
CHUNK = 10 * 2**20
SUFFIX, DATA = ".txt", (bytes(range(256)) * (CHUNK // 256)) + b"last"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
IMAGE = base64.b64decode(PIXEL).ljust(CHUNK, b"\0") + b"last"
"""An image of two chunks; nothing reads the bytes after its end."""

CHECKS = {}
"""Checks of a portal's own."""


class Client(DjangoClient):
    def __init__(self):
        super().__init__(enforce_csrf_checks=True)


def people():
    """Return two users who may see uploads in the admin, but are no superusers."""
    users = get_user_model().objects
    for name in ("first", "second"):
        if not users.filter(username=name).exists():
            user = users.create_user(name, password=name, is_staff=True)
            user.user_permissions.add(*Permission.objects.filter(content_type__app_label="upload_sessions"))
    return list(users.order_by("username"))


def log_in(client, user):
    """Log in, and return headers for each request."""
    client.force_login(user)
    client.get(ADMIN)
    return {"HTTP_X_CSRFTOKEN": client.cookies["csrftoken"].value}


def folder(user):
    return "@my"


def foreign_folder():
    return None


def files():
    done = UploadSession.objects.filter(state=State.COMPLETED)
    return {session.file_name: default_storage.open(session.object_name).read() for session in done}
