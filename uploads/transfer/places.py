"""Where the parts of a session go: its multipart upload or, if it needs several, the segment that is written to."""

from __future__ import annotations

from dataclasses import dataclass

from uploads import parts
from uploads.disposition import disposition_of
from uploads.models import Mode, Segment, UploadSession
from uploads.stores.base import Store, Upload
from uploads.stores.names import piece_of


@dataclass(frozen=True)
class Place:
    """A multipart upload, and which segment of the file it is."""

    upload: Upload
    segment: int = 0


def upload_of(session: UploadSession) -> Upload:
    """Return the multipart upload that becomes the file."""
    return Upload(session.object_name, session.upload_id)


def has_segments(session: UploadSession, store: Store) -> bool:
    """Tell whether the file is several uploads in the store, and not only by how its parts are numbered."""
    return session.segmented and store.limits_parts


def begin_upload(session: UploadSession, store: Store) -> str:
    """Begin the upload that becomes the file; return the store's id of it."""
    return store.create(
        session.object_name,
        content_type=session.content_type,
        encrypted=session.encrypted,
        disposition=disposition_of(session.file_name, session.content_type),
    )


def place_of(session: UploadSession, store: Store, index: int) -> Place:
    """Return where parts of a segment of the file go."""
    if not has_segments(session, store):
        return Place(upload_of(session), index)
    segment = session.segments.get(index=index)
    return Place(Upload(segment.name, segment.upload_id), index)


def begin_segment(session: UploadSession, store: Store, index: int) -> Segment:
    """Begin a segment in the store, and return the row that is to be saved of it."""
    name = piece_of(session.object_name, session.mark)
    upload_id = store.create(name, content_type="application/octet-stream", encrypted=session.encrypted)
    return Segment(session=session, index=index, name=name, upload_id=upload_id)


def minimum_of(session: UploadSession, store: Store) -> int:
    """Return the size in bytes below which a part that is not the last would be refused, or waste a part number."""
    if session.segmented and session.mode != Mode.NUMBERED:
        return store.min_part_size
    return parts.minimum_part_size(session.file_size, store.min_part_size)
