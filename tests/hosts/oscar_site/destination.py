from oscar.core.loading import get_model

from uploads.destinations import ModelDestination


class ProductImages(ModelDestination):
    model = "catalogue.ProductImage"
    folder_field = "product"

    def uploadable(self, user):
        products = get_model("catalogue", "Product").objects.all()
        if user.has_perm("catalogue.change_product"):
            return products
        return products.filter(stockrecords__partner__users=user).distinct()

    def fill(self, file, session):
        if not file.pk:
            file.display_order = file.product.images.count()
