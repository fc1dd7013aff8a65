"""Form fields that receive files of any size through upload sessions.

The form itself stays small::

    class DocumentForm(forms.ModelForm):
        file = UploadField()

Include ``uploads.urls.forms`` and add ``uploads.forms.middleware.UploadFormMiddleware`` to MIDDLEWARE.
"""

from __future__ import annotations

from uploads.forms.fields import ImageUploadField, MultipleUploadField, UploadField
from uploads.forms.files import StoredFile
from uploads.forms.widgets import AdminUploadWidget, UploadWidget

__all__ = ["AdminUploadWidget", "ImageUploadField", "MultipleUploadField", "StoredFile", "UploadField", "UploadWidget"]
