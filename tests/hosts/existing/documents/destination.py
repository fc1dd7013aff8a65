from documents.models import Document, Folder
from uploads import destinations
from uploads.exceptions import FolderNotFound


class Documents(destinations.Destination):
    def folder(self, user, folder_id):
        folder = Folder.objects.filter(members=user, pk=folder_id).first()
        if folder is None:
            raise FolderNotFound
        return destinations.Folder(folder.pk, [folder.pk])

    def publish(self, session):
        document = Document(folder_id=session.folder_id, name=session.file_name, author=session.owner)
        document.file.name = session.object_name
        document.save()
        return destinations.PublishedFile(id=document.pk, folder_id=session.folder_id, title=document.name)

    def in_use(self, names):
        return Document.objects.filter(file__in=names).values_list("file", flat=True)
