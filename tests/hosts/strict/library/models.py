from django.conf import settings
from django.core.validators import FileExtensionValidator
from django.db import models


class Shelves(models.Manager):
    def of_reader(self, user):
        return self.filter(readers=user)


class Shelf(models.Model):
    readers = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="shelves")

    objects = Shelves()


def place(book, name):
    return f"books/{book.shelf_id}/{name}"


class Book(models.Model):
    shelf = models.ForeignKey(Shelf, models.PROTECT)
    title = models.CharField(max_length=100)
    text = models.FileField(upload_to=place, max_length=255, validators=[FileExtensionValidator(["txt"])])

    class Meta:
        unique_together = ("shelf", "title")

    def __str__(self):
        return self.title
