"""Describe this portal to the contract: a deleted document has the title of the first upload."""

import usual
from django.core.files.base import ContentFile
from library.models import Document
from usual import *  # noqa: F403


def people():
    found = usual.people()
    for user in found:
        if not user.folders.exists():
            document = Document(folder=user.folders.create(), title="in-order.txt", uploaded_by=user, source="import")
            document.file.save("deleted.txt", ContentFile(b"deleted"))
            document.delete()
    return found


def folder(user):
    return user.folders.get().pk


def foreign_folder():
    return folder(people()[1])


def files():
    assert [document.file.read() for document in Document.deleted_objects.all()] == [b"deleted", b"deleted"]
    assert set(Document.objects.values_list("uploaded_by__username", "source")) == {("first", "upload")}
    return {document.title: document.file.read() for document in Document.objects.all()}


def crispy():
    client = Client()
    log_in(client, people()[0])
    page = client.get("/new/").content.decode()
    assert page.count("<upload-drop") == 1, page


CHECKS = {"crispy form": crispy}
