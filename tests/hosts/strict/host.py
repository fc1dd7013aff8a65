"""Describe this portal to the contract."""

import usual
from library.models import Book, Shelf
from rest_framework_simplejwt.tokens import AccessToken
from usual import *  # noqa: F403

ROOT, TUS, ADMIN = "/v1", "/v1/shelves/{folder}/uploads/", "/staff/admin/"


def people():
    found = usual.people()
    for pk, person in enumerate(found, 1):
        Shelf.objects.get_or_create(pk=pk)[0].readers.add(person)
    return found


def log_in(client, user):
    return {"HTTP_AUTHORIZATION": f"Bearer {AccessToken.for_user(user)}", "HTTP_ACCEPT": "text/html; version=v1"}


def folder(user):
    return user.shelves.get().pk


def foreign_folder():
    return folder(people()[1])


def files():
    return {book.title: book.text.read() for book in Book.objects.all()}
