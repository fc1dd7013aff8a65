from django.db.models import Q
from filer.models import Folder, FolderPermission

from uploads.destinations import ModelDestination


class Files(ModelDestination):
    model = "filer.File"
    folder_field = "folder"
    same_title = "keep"

    def uploadable(self, user):
        allowed = FolderPermission.objects.get_add_children_id_list(user)
        folders = Folder.objects.all()
        return folders if allowed == "All" else folders.filter(Q(owner=user) | Q(pk__in=allowed))

    def fill(self, file, session):
        file.original_filename = session.file_name
        file.is_public = True  # Private files would be in another storage.


class Images(Files):
    model = "filer.Image"

    def fill(self, file, session):
        super().fill(file, session)
        file._width = file._height = 1  # clean() refuses images without a size; filer sets it when the file is there.
