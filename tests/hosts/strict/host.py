"""Describe this portal to the contract."""

from django.contrib.auth import get_user_model
from library.models import Book, Shelf
from rest_framework_simplejwt.tokens import AccessToken

ROOT, TUS, ADMIN = "/v1", "/v1/shelves/{folder}/uploads/", "/staff/admin/"


def people():
    users = get_user_model().objects
    names = ("first", "second")
    found = [users.filter(username=name).first() or users.create_superuser(name, password=name) for name in names]
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
