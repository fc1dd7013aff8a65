"""Describe this portal to the contract."""

import usual
from documents.models import Document, Folder
from rest_framework.authtoken.models import Token
from usual import *  # noqa: F403


def people():
    found = usual.people()
    for person, slug in zip(found, ("ours", "theirs"), strict=True):
        Folder.objects.get_or_create(slug=slug)[0].members.add(person)
    return found


def log_in(client, user):
    return {"HTTP_AUTHORIZATION": f"Token {Token.objects.get_or_create(user=user)[0]}"}


def folder(user):
    return user.folders.get().pk


def foreign_folder():
    return "theirs"


def files():
    return {document.name: document.file.read() for document in Document.objects.all()}
