"""Describe this portal to the contract."""

import usual
from usual import *  # noqa: F403

from portal.models import File, Folder


def people():
    found = usual.people()
    for user in found:
        Folder.objects.get_or_create(owner=user, title="documents")
    return found


def log_in(client, user):
    client.force_login(user)
    return {"HTTP_SEC_FETCH_SITE": "same-origin"}


def folder(user):
    return user.folders.get().pk


def foreign_folder():
    return folder(people()[1])


def files():
    return {file.title: file.content.read() for file in File.objects.all()}
