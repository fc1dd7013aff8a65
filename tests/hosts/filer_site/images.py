"""The same for images, which have a destination of their own."""

from filer.models import Image
from host import *  # noqa: F403

ROOT, TUS = "/images", "/images/folders/{folder}/tus/"
SUFFIX, DATA = ".png", IMAGE


def files():
    images = Image.objects.all()
    assert {(image.owner, image.width, image.height, image.mime_type) for image in images} == {
        (people()[0], 1, 1, "image/png")
    }
    return {image.label: image.file.open().read() for image in images}
