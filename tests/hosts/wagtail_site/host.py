"""Describe this portal to the contract: each editor may add to one collection."""

from django.contrib.auth.models import Group, Permission, User
from wagtail.documents.models import Document
from wagtail.models import Collection, GroupCollectionPermission

ROOT, TUS, ADMIN = "", "/collections/{folder}/tus/", "/admin/"


def people():
    if not User.objects.filter(username="second").exists():
        root = Collection.get_first_root_node()
        ours, theirs = root.add_child(name="ours"), root.add_child(name="theirs")
        add = Permission.objects.get(codename="add_document")
        for name, collection in (("first", ours), ("second", theirs)):
            editor = User.objects.create_user(name, password=name, is_staff=True)
            group = Group.objects.create(name=name)
            editor.groups.add(group)
            GroupCollectionPermission.objects.create(group=group, collection=collection, permission=add)
            editor.user_permissions.add(*Permission.objects.filter(content_type__app_label="upload_sessions"))
    return list(User.objects.order_by("pk"))


def log_in(client, user):
    client.force_login(user)
    return {}


def folder(user):
    return Collection.objects.get(name={"first": "ours", "second": "theirs"}[user.username]).pk


def foreign_folder():
    return folder(people()[1])


def files():
    documents = Document.objects.all()
    assert {document.uploaded_by_user for document in documents} == {people()[0]}
    assert all(document.file_extension == "txt" and document.file_size for document in documents)
    return {document.title: document.file.read() for document in documents}
