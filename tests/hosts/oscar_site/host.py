"""Describe this portal to the contract: each user is a partner who sells one product."""

import usual
from oscar.apps.catalogue.models import Product, ProductClass, ProductImage
from oscar.apps.partner.models import Partner, StockRecord
from usual import *  # noqa: F403

SUFFIX, DATA = ".png", usual.IMAGE


def people():
    found = usual.people()
    kind, _ = ProductClass.objects.get_or_create(name="books")
    for person in found:
        partner, created = Partner.objects.get_or_create(name=person.username)
        if created:
            partner.users.add(person)
            product = Product.objects.create(title=person.username, product_class=kind)
            StockRecord.objects.create(product=product, partner=partner, partner_sku=person.username)
    return found


def folder(user):
    return Product.objects.get(title=user.username).pk


def foreign_folder():
    return folder(people()[1])


def files():
    images = ProductImage.objects.filter(product=folder(people()[0]))
    assert sorted(image.display_order for image in images) == list(range(len(images)))
    return {image.original.name.rpartition("/")[2]: image.original.read() for image in images}
