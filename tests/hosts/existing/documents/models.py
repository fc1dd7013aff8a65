import uuid

from django.conf import settings
from django.core.files.storage import storages
from django.db import models


def documents():
    return storages["documents"]


class Folder(models.Model):
    slug = models.SlugField(primary_key=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="folders")

    def __str__(self):
        return self.slug


class Document(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    folder = models.ForeignKey(Folder, models.PROTECT, related_name="documents")
    name = models.CharField(max_length=200)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT)
    file = models.FileField(upload_to="documents/%Y", storage=documents, max_length=200)

    def __str__(self):
        return self.name
