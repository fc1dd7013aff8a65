from wagtail.documents.permissions import permission_policy

from uploads.destinations import ModelDestination


class Documents(ModelDestination):
    model = "wagtaildocs.Document"
    folder_field = "collection"
    size_field = "file_size"
    same_title = "keep"

    def uploadable(self, user):
        return permission_policy.collections_user_has_permission_for(user, "add")
