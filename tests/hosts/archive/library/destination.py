from django.db.models import Q

from library.models import Folder
from uploads.destinations import ModelDestination


class Documents(ModelDestination):
    model = "library.Document"
    folder_field = "folder"
    owner_field = "uploaded_by"
    same_title = "replace"

    def uploadable(self, user):
        return Folder.objects.filter(Q(owner=user) | Q(readers=user)).distinct()

    def fill(self, file, session):
        file.source = session.metadata.get("source", "upload")[:20]
