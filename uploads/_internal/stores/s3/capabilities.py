"""Detect a store's capabilities by trying each operation once."""

from __future__ import annotations

from contextlib import suppress

from uploads._internal import conf
from uploads._internal.parts import MIN_PART_SIZE
from uploads._internal.stores.base import (
    Upload,
    encrypted_well_enough,
)
from uploads._internal.stores.buffer import Buffer
from uploads._internal.stores.names import probe_under
from uploads._internal.stores.s3.calls import (
    has_no_such_call,
)
from uploads._internal.stores.s3.connection import S3Connection
from uploads.exceptions import StoreRefused, StoreUnavailable, UploadError, UploadGone


class S3Capabilities(S3Connection):
    """Detect capabilities that are neither in the settings nor in the database."""

    @property
    def composes(self) -> bool:
        return self._probe("composes", self._copy_something)

    def _copy_something(self) -> bool:
        """Return True if an object can be composed of a copied range of another object."""
        source, name = (probe_under(conf.current().OBJECT_PREFIX) for _ in range(2))
        upload: Upload | None = None
        # S3 copies no ranges of smaller objects (S3: UploadPartCopy).
        data, copied = Buffer(b"decomposed".ljust(MIN_PART_SIZE + 3)), Buffer(b"composed".ljust(MIN_PART_SIZE + 1))
        try:
            self.put_fragment(source, data, encrypted=False)
            upload = Upload(name, self.create(name, content_type="application/octet-stream", encrypted=False))
            part = self.copy_part(upload, number=1, source=source, start=2, size=len(copied), whole=False)
            self.complete(upload, [part], crc32=copied.crc32)
            return next(iter(self.read(name, start=0, size=8))) == b"composed"
        except (StoreRefused, UploadGone):
            return False
        except StoreUnavailable as error:
            if has_no_such_call(error.__cause__):
                return False
            raise
        finally:
            with suppress(UploadError):
                if upload is not None:
                    self.abort(upload)
                self.delete([source, name])

    @property
    def encrypts(self) -> bool:
        return self._probe(self._encryption, self._encrypt_something)

    def _encrypt_something(self) -> bool:
        """Store a tiny object; return True if the store reports it as encrypted."""
        name = probe_under(conf.current().OBJECT_PREFIX)
        try:
            self.put_fragment(name, Buffer(b"secret"), encrypted=True)
            stored = self.stat(name)
        except StoreRefused:
            return False
        finally:
            with suppress(UploadError):
                self.delete([name])
        return stored is not None and encrypted_well_enough(stored.encryption, conf.current().ENCRYPTION)
