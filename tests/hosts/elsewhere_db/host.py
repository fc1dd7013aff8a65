"""Describe this portal to the contract."""

from django.contrib.auth.models import User

from portal.models import File, Folder

ROOT, TUS, ADMIN = "", "/folders/{folder}/tus/", "/admin/"


def people():
    names = ("first", "second")
    found = [User.objects.filter(username=n).first() or User.objects.create_superuser(n, password=n) for n in names]
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
