"""The store on django-storages' ``S3Storage``."""

from uploads._internal.stores.s3.store import S3Storage, S3Store

__all__ = ["S3Storage", "S3Store"]
