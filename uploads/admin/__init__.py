"""The admin pages of upload sessions."""

from uploads.admin.options import UploadSessionAdmin

__all__ = ["UploadSessionAdmin"]
