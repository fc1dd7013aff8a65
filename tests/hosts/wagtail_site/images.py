"""The same for images, which have a destination of their own."""

import host
from host import *  # noqa: F403
from wagtail.images.models import Image

ROOT, TUS = "/images", "/images/folders/{folder}/tus/"
SUFFIX, DATA = ".png", host.IMAGE


def files():
    images = Image.objects.all()
    assert {image.uploaded_by_user for image in images} == {host.people()[0]}
    assert all((image.width, image.height, image.file_size) == (1, 1, len(DATA)) for image in images)
    assert {image.get_rendition("width-1").width for image in images} == {1}
    return {image.title: image.file.open().read() for image in images}
