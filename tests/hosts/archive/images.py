"""The same for images, rows of a polymorphic model without folders."""

from library.models import Item
from usual import *  # noqa: F403

ROOT, TUS = "/images", "/images/folders/{folder}/tus/"
SUFFIX, DATA = ".png", IMAGE


def files():
    items = Item.objects.all()
    assert {(type(item).__name__, item.owner.username, item.width) for item in items} == {("Picture", "first", 1)}
    return {item.title: item.content.open().read() for item in items}
