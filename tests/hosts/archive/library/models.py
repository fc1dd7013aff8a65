from django.conf import settings
from django.db import models
from polymorphic.models import PolymorphicModel
from safedelete.models import SafeDeleteModel


class Folder(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="folders")
    readers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")


class Document(SafeDeleteModel):
    folder = models.ForeignKey(Folder, models.CASCADE)
    title = models.CharField(max_length=255)
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT)
    source = models.CharField(max_length=20)
    file = models.FileField(upload_to="documents/%Y", max_length=255)


class Item(PolymorphicModel):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    title = models.CharField(max_length=255)


class Picture(Item):
    width = models.IntegerField(editable=False)
    content = models.ImageField(upload_to="pictures", max_length=255, width_field="width")
