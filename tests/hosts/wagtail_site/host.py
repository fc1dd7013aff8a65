"""Describe this portal to the contract: each editor may add documents and images to one collection."""

import usual
from django.contrib.auth.models import Group, Permission
from usual import *  # noqa: F403
from wagtail.documents.models import Document
from wagtail.models import Collection, GroupCollectionPermission


def people():
    found = usual.people()
    if not Group.objects.filter(name="first").exists():
        root = Collection.get_first_root_node()
        for editor in found:
            collection, group = root.add_child(name=editor.username), Group.objects.create(name=editor.username)
            editor.groups.add(group)
            for permission in Permission.objects.filter(codename__in=("add_document", "add_image")):
                GroupCollectionPermission.objects.create(group=group, collection=collection, permission=permission)
    return found


def folder(user):
    return Collection.objects.get(name=user.username).pk


def foreign_folder():
    return folder(people()[1])


def files():
    documents = Document.objects.all()
    assert {document.uploaded_by_user for document in documents} == {people()[0]}
    assert all(document.file_extension == "txt" and document.file_size for document in documents)
    return {document.title: document.file.read() for document in documents}
