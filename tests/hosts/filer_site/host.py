"""Describe this portal to the contract: each editor has a folder."""

import usual
from filer.models import File, Folder
from usual import *  # noqa: F403


def people():
    found = usual.people()
    for editor in found:
        Folder.objects.get_or_create(owner=editor, name=editor.username)
    return found


def folder(user):
    return user.filer_owned_folders.get().pk


def foreign_folder():
    return folder(people()[1])


def files():
    found = File.objects.all()
    assert all(file.owner == people()[0] and file.sha1 and file.size == len(DATA) for file in found)
    return {file.label: file.file.open().read() for file in found}
