"""Describe this portal to the contract."""

from django.contrib.auth import get_user_model
from django.core.files.storage import default_storage

from uploads.models import State, UploadSession

ROOT, TUS, ADMIN = "", "/tus/", "/admin/"


def people():
    users = get_user_model().objects
    names = ("first", "second")
    return [users.filter(username=name).first() or users.create_superuser(name, password=name) for name in names]


def log_in(client, user):
    client.handler.enforce_csrf_checks = False
    client.force_login(user)
    return {}


def folder(user):
    return "@my"


def foreign_folder():
    return None


def files():
    done = UploadSession.objects.filter(state=State.COMPLETED)
    return {session.file_name: default_storage.open(session.object_name).read() for session in done}
