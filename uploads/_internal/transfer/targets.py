"""The upload targets of a file's parts (multipart uploads), and the plan of the parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from django.db import Error, IntegrityError

from uploads._internal import conf
from uploads._internal.disposition import disposition_of
from uploads._internal.parts import MAX_OBJECT_SIZE, UploadPlan
from uploads._internal.stores.base import Store, Upload
from uploads._internal.stores.names import fragment_of
from uploads._internal.transfer.deadlines import call_with_timeout
from uploads._internal.transfer.transactions import durable, reconnect
from uploads.exceptions import FileTooLarge, UploadError
from uploads.models import Fragment, Segment, UploadPart, UploadSession


def upload_of(session: UploadSession) -> Upload:
    """Return the multipart upload that becomes the file."""
    return Upload(session.object_name, session.upload_id)


def uploads_of(session: UploadSession) -> list[Upload]:
    """Return all multipart uploads that the session has or may have."""
    own = [upload_of(session)] if session.upload_id else []
    return [*own, *(Upload(segment.name, segment.upload_id) for segment in session.segments.all())]


def objects_of(session: UploadSession) -> list[str]:
    """Return the names of all objects that the session keeps besides its file."""
    names = session.fragments.values_list("name", flat=True)
    return [*names, *session.segments.values_list("name", flat=True)]


def stored_of(session: UploadSession) -> list[UploadPart | Fragment]:
    """Return the stored parts and fragments of sequential chunks, in the order of the file."""
    return sorted([*session.parts.all(), *session.fragments.all()], key=lambda row: row.offset)


def plan_for(session: UploadSession, store: Store, chunk_size: int | None) -> UploadPlan:
    """Plan the file for chunks of ``chunk_size``; raise FileTooLarge if its store cannot hold it."""
    config = conf.current()
    size = session.file_size if session.size_known else None
    if not store.limits_parts:
        return UploadPlan(config.PART_SIZE)
    preferred, most = max(config.PART_SIZE, store.min_part_size), store.max_parts
    plan = UploadPlan.of(size, chunk_size, preferred=preferred, least=store.min_part_size, most=most)
    if not plan.segment_parts:
        return plan
    joins = store.composes
    if joins and session.file_size > plan.largest(most):  # Parts of this size make copies smaller than 5 GiB.
        plan = UploadPlan.of(size, None, preferred=preferred, least=store.min_part_size, most=most)
    largest = plan.largest(most) if joins else largest_in_one_upload(store)
    if session.file_size > largest:
        raise FileTooLarge(maximum=largest)
    return plan if joins else UploadPlan(max(preferred, -(-session.file_size // most)))


def largest_joined(store: Store) -> int:
    """Return the size in bytes of the largest file that the store can join.

    The parts have the preferred size.
    """
    preferred, most = max(conf.current().PART_SIZE, store.min_part_size), store.max_parts
    plan = UploadPlan.of(MAX_OBJECT_SIZE, None, preferred=preferred, least=store.min_part_size, most=most)
    return max(plan.largest(most), largest_in_one_upload(store))


def largest_in_one_upload(store: Store) -> int:
    """Return the size in bytes of the largest file in one multipart upload.

    Its parts fit into the memory for buffers.
    """
    config = conf.current()
    return store.max_parts * max(config.PART_SIZE, config.MAX_BUFFER_MEMORY // 2)


def begin_upload(session: UploadSession, store: Store, *, checked: bool = True) -> str:
    """Begin the upload that becomes the file; return the store's id of it.

    ``checked`` is False if its parts come without checksums.
    """
    return call_with_timeout(
        store.create,
        session.object_name,
        content_type=session.content_type,
        encrypted=session.encrypted,
        disposition=disposition_of(session.file_name, session.content_type),
        checked=checked,
    )


def begin_planned(
    session: UploadSession, store: Store, plan: UploadPlan, save: Callable[[str], bool], *, checked: bool = True
) -> None:
    """Begin the file's upload; abort it unless ``save`` saves its id.

    Raises the errors of ``begin_upload``. The upload of a file of segments begins when the segments are joined.
    """
    upload_id = "" if plan.segment_parts else begin_upload(session, store, checked=checked)
    saved = False
    try:
        saved = save(upload_id)
    except Error:
        saved = _is_named(session, upload_id)
        raise
    finally:
        if upload_id and not saved:
            with suppress(UploadError):
                call_with_timeout(store.abort, Upload(session.object_name, upload_id))


def _is_named(session: UploadSession, upload_id: str) -> bool:
    """Return whether the row names the upload after all.

    Returns True as well if the database does not answer: the audit finds the upload later.
    """
    try:
        reconnect()
        with durable():
            row = UploadSession.objects.select_for_update().get(pk=session.pk)
    except Error:
        return True
    return bool(row.upload_id == upload_id)


def target_of(session: UploadSession, store: Store, segment: int, confirm: Callable[[], object]) -> Upload:
    """Return the upload for the parts of a segment; begin it if there is none.

    Several requests may call this at once. ``confirm`` is called in the transaction that saves the upload's id, and
    raises an error if the session has ended.
    """
    if session.plan is None or not session.plan.segment_parts:
        return upload_of(session)
    row = session.segments.filter(index=segment).first()
    if row is None:
        row = _begin_segment(session, store, segment)
        try:
            with durable():
                confirm()
                row.save(force_insert=True)
        except IntegrityError:  # Another request was first.
            call_with_timeout(store.abort, Upload(row.name, row.upload_id))
            row = session.segments.get(index=segment)
        except Error:
            raise  # The row may exist; if not, the audit finds the upload.
        except BaseException:
            with suppress(UploadError):
                call_with_timeout(store.abort, Upload(row.name, row.upload_id))
            raise
    return Upload(row.name, row.upload_id)


def _begin_segment(session: UploadSession, store: Store, index: int) -> Segment:
    name = fragment_of(session.object_name, session.name_signature)
    upload_id = call_with_timeout(
        store.create, name, content_type="application/octet-stream", encrypted=session.encrypted
    )
    return Segment(session=session, index=index, name=name, upload_id=upload_id)
