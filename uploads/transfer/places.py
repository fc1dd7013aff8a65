"""Where the parts of a session go: its multipart upload or, if it needs several, the segment that is written to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db import IntegrityError

from uploads import parts
from uploads.disposition import disposition_of
from uploads.models import Mode, Segment, UploadSession
from uploads.stores.base import Store, Upload
from uploads.stores.names import piece_of
from uploads.transfer.deadlines import waited_for
from uploads.transfer.transactions import durable


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
    return waited_for(
        store.create,
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


def open_segment(session: UploadSession, store: Store, index: int, confirm: Callable[[], object]) -> Place:
    """Return where parts of a segment go, which may have to be begun; several may ask for it at once.

    ``confirm`` is called in the transaction that keeps it, and raises if the session ended meanwhile.
    """
    if has_segments(session, store) and not session.segments.filter(index=index).exists():
        segment = begin_segment(session, store, index)
        try:
            with durable():
                confirm()
                segment.save(force_insert=True)
        except IntegrityError:  # Somebody else was first.
            waited_for(store.abort, Upload(segment.name, segment.upload_id))
    return place_of(session, store, index)


def begin_segment(session: UploadSession, store: Store, index: int) -> Segment:
    """Begin a segment in the store, and return the row that is to be saved of it."""
    name = piece_of(session.object_name, session.mark)
    upload_id = waited_for(store.create, name, content_type="application/octet-stream", encrypted=session.encrypted)
    return Segment(session=session, index=index, name=name, upload_id=upload_id)


def first_segment(session: UploadSession) -> Segment:
    """Return the row by which the upload that was to become the whole file is the first segment of it."""
    return Segment(session=session, index=0, name=session.object_name, upload_id=session.upload_id)


def composes(store: Store) -> bool:
    """Tell whether a file may be made of several multipart uploads, or needs none.

    Not where the store refuses strays: a chunk over two of them that is cut would leave some in the first.
    """
    return not store.limits_parts or (store.allows_strays and store.composes)


def minimum_of(session: UploadSession, store: Store) -> int:
    """Return the size in bytes below which a part that is not the last would be refused, or waste a part number."""
    if session.segmented or (session.mode != Mode.NUMBERED and is_larger(session) and composes(store)):
        return store.min_part_size
    return min(session.part_size, parts.minimum_part_size(session.planned_size, store.min_part_size))


def is_larger(session: UploadSession) -> bool:
    """Tell whether the file is, or may be, more than one multipart upload takes in parts of the session's size."""
    return session.file_size > parts.largest_file(session.part_size)
