from wagtail.permissions import policy_registry

from uploads.destinations import ModelDestination


class Documents(ModelDestination):
    model = "wagtaildocs.Document"
    folder_field = "collection"
    size_field = "file_size"
    same_title = "keep"

    def uploadable(self, user):
        policy = policy_registry.get_by_type(self.column.model)
        return policy.collections_user_has_permission_for(user, "add")


class Images(Documents):
    model = "wagtailimages.Image"
