"""Compare rows and store in both directions, and delete what no row owns.

Only uploads and objects that are provably ours are deleted. They meet all of these conditions:

- They lie under one of the destination's audit prefixes.
- Their names carry a signature that this database made.
- They are older than ``AUDIT_GRACE``.
- They belong to no unfinished session.
- The portal does not claim them, if they are objects.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TypeVar

from uploads._internal import conf
from uploads._internal.conf import PARTIAL
from uploads._internal.stores import get_store
from uploads._internal.stores.base import FoundObject, FoundUpload, Store, StoredObject, Upload
from uploads._internal.stores.names import FRAGMENT, SIGNATURE, is_ours
from uploads._internal.transfer.targets import uploads_of
from uploads.destinations import aliases, all_aliases, get_destination
from uploads.exceptions import StoreRefused, StoreUnavailable
from uploads.models import Fragment, NamingKey, Segment, UploadSession

logger = logging.getLogger(__name__)

FRAGMENTS_LOOKED_AT = 100
"""Maximum number of fragments in the comparison of one session: each is a call."""
ABORT_ATTEMPTS = 3
"""Attempts to abort an upload: a part in transit can survive one (S3: AbortMultipartUpload)."""

Found = TypeVar("Found", FoundUpload, FoundObject)


@dataclass
class Report:
    """Findings of an audit; sizes in bytes."""

    lost: list[str] = field(default_factory=list)
    """Unfinished sessions whose bytes are gone from the store."""
    orphans: int = 0
    orphan_bytes: int = 0
    freed: int = 0
    freed_bytes: int = 0
    strange: int = 0
    """Uploads and objects under our prefixes whose names are not ours; never touched."""


def audit(*, fix: bool = False, tell: Callable[[str], object] = logger.warning) -> Report:
    """Audit the prefixes that hold the portal's uploads; ``fix`` deletes orphans.

    ``tell`` is called with one line for each finding. Raises StoreUnavailable if the store cannot be queried. Safe
    beside uploads and other audits.
    """
    report = Report()
    known = [*all_aliases(), *(alias + PARTIAL for alias in aliases())]
    places = list(dict.fromkeys(place for alias in known for place in get_destination(alias).audit_prefixes()))
    in_rows = UploadSession.objects.unfinished().order_by().values_list("storage", flat=True).distinct()
    for alias in sorted({*in_rows, *(alias for alias, _ in places)}):
        _find_lost(get_store(alias), alias, report, tell)
    for alias, prefix in places:
        _find_orphans(get_store(alias), alias, prefix, report, tell, fix=fix)
    return report


def _find_orphans(
    store: Store, alias: str, prefix: str, report: Report, tell: Callable[[str], object], *, fix: bool
) -> None:
    listed = False
    for uploads in _batches(_listed(store, prefix)):
        listed = True
        owned = set(_unfinished([_composed(found.name) for found in uploads]))
        unowned = [found for found in uploads if Upload(_composed(found.name), found.upload.id) not in owned]
        for upload in _ours(unowned, report):
            _abort(store, upload, report, tell, fix=fix)
    mine = UploadSession.objects.unfinished().filter(storage=alias, object_name__startswith=f"{prefix}/")
    if not listed and mine.exclude(upload_id="").exists():
        tell(f"{prefix}: the store does not list its multipart uploads, so abandoned ones are not found")
    for objects in _batches(store.list_objects(prefix)):
        names = _owned_objects([_composed(found.name) for found in objects])
        for orphan in _ours([found for found in objects if _composed(found.name) not in names], report):
            _delete(store, orphan, report, tell, fix=fix)


def _listed(store: Store, prefix: str) -> Iterator[FoundUpload]:
    """Yield the multipart uploads below a prefix; none if the store does not list them."""
    with suppress(StoreRefused):
        yield from store.list_uploads(prefix)


def _find_lost(store: Store, alias: str, report: Report, tell: Callable[[str], object]) -> None:
    """Find unfinished sessions whose upload or fragments the store no longer has."""
    unfinished = UploadSession.objects.unfinished().filter(storage=alias)
    for session in unfinished.order_by("pk").iterator(chunk_size=conf.current().BATCH_SIZE):
        fragments = session.fragments.values_list("name", flat=True)
        there = all(_is_there(store, session, upload) for upload in uploads_of(session)) or (
            session.is_whole and _file_of(store, session) is not None
        )
        gone = not there or any(store.stat(fragment) is None for fragment in fragments)
        if gone and _is_unchanged(session):
            report.lost.append(session.pk.hex)
            tell(f"{_named(session)}: the store has lost its bytes; the user has to upload the file again")


@dataclass
class Comparison:
    """A session's bytes according to its rows and to the store; None if absent."""

    in_rows: int
    in_uploads: int | None
    """Bytes of the parts in the store, if it still knows the upload."""
    in_fragments: int
    file: int | None
    """Bytes of the finished object, if the file is whole."""


def compare(session: UploadSession) -> Comparison:
    """Query the store for a session's bytes; raise StoreUnavailable if it does not answer."""
    store = get_store(session.storage)
    sizes = [store.upload_size(upload) for upload in uploads_of(session)]
    known = [size for size in sizes if size is not None]
    fragments = session.fragments.values_list("name", flat=True)
    found = [store.stat(fragment) for fragment in fragments[:FRAGMENTS_LOOKED_AT]]
    whole = _file_of(store, session) if session.is_whole else None
    return Comparison(
        in_rows=session.bytes_stored,
        in_uploads=sum(known) if known else None,
        in_fragments=sum(stored.size for stored in found if stored),
        file=None if whole is None else whole.size,
    )


def _file_of(store: Store, session: UploadSession) -> StoredObject | None:
    """Return the finished file in the store, or None.

    The size is compared, because the first segment may have had the same name before.
    """
    stored = store.stat(session.object_name)
    return stored if stored is not None and stored.size == session.file_size else None


def _is_there(store: Store, session: UploadSession, upload: Upload) -> bool:
    """Return whether the store has the upload, or the object of a finished segment."""
    return store.upload_size(upload) is not None or (
        upload.name != session.object_name and store.stat(upload.name) is not None
    )


def _is_unchanged(session: UploadSession) -> bool:
    """Return whether no other process wrote to the session while the store was queried."""
    return UploadSession.objects.filter(pk=session.pk, fence=session.fence, lease_until=None).exists()


def _unfinished(names: list[str]) -> Iterator[Upload]:
    """Yield the uploads of unfinished sessions with these names, in any storage.

    Several storage aliases may share a bucket.
    """
    rows = UploadSession.objects.unfinished().named(names)
    for name, upload_id in rows.values_list("object_name", "upload_id"):
        yield Upload(name, upload_id)
    segments = Segment.objects.filter(session__in=UploadSession.objects.unfinished(), name__in=names)
    for name, upload_id in segments.values_list("name", "upload_id"):
        yield Upload(name, upload_id)


def _owned_objects(names: list[str]) -> set[str]:
    """Return the members of ``names`` that an unfinished session, a file that waits, or the portal owns.

    The portal is queried last: a file that is published in between belongs to the portal by then.
    """
    unfinished = UploadSession.objects.unfinished()
    waiting = UploadSession.objects.filter(pending_file__isnull=False)
    owned = {name for rows in (unfinished, waiting) for name in rows.named(names).values_list("object_name", flat=True)}
    owned |= set(Fragment.objects.filter(session__in=unfinished, name__in=names).values_list("name", flat=True))
    segments = Segment.objects.filter(session__in=unfinished, name__in=_fragments(names))
    owned |= set(segments.values_list("name", flat=True))
    # The portal never owns fragments.
    left = [name for name in names if name not in owned | _fragments(names)]
    for alias in all_aliases():
        owned |= set(get_destination(alias).in_use(left))
    return owned


def _composed(name: str) -> str:
    """Return a listed name in composed form (NFC): some file systems decompose characters."""
    return unicodedata.normalize("NFC", name)


def _fragments(names: list[str]) -> set[str]:
    return {name for name in names if FRAGMENT.fullmatch(name)}


def _ours(unowned: list[Found], report: Report) -> Iterator[Found]:
    """Yield what is named as ours and too old to be in progress."""
    grace_ends = datetime.now(UTC) - conf.current().AUDIT_GRACE
    key = NamingKey.current()
    for found in unowned:
        if found.since > grace_ends:
            continue
        if is_ours(_composed(found.name), key):
            yield found
        else:
            report.strange += 1


def _abort(store: Store, found: FoundUpload, report: Report, tell: Callable[[str], object], *, fix: bool) -> None:
    size = store.upload_size(found.upload)
    if size is None:
        return
    _count(report, size)
    tell(f"orphan multipart upload {_described(found)}, {size} bytes")
    for _attempt in range(ABORT_ATTEMPTS if fix else 0):
        store.abort(found.upload)
        if store.upload_size(found.upload) is None:
            _count_freed(report, size)
            return
    if fix:
        tell(f"orphan multipart upload {found.name} is still there after {ABORT_ATTEMPTS} attempts")


def _delete(store: Store, found: FoundObject, report: Report, tell: Callable[[str], object], *, fix: bool) -> None:
    _count(report, found.size)
    tell(f"orphan object {_described(found)}, {found.size} bytes")
    if fix:
        try:
            store.delete([found.name])
        except StoreUnavailable as error:
            tell(f"orphan object {found.name} could not be deleted: {error}")
        else:
            _count_freed(report, found.size)


def _described(found: FoundUpload | FoundObject) -> str:
    """Return the name, the age, and the session that the name belongs to, if its row is not deleted yet."""
    signature = re.search(SIGNATURE, found.name)
    session = UploadSession.objects.filter(pk=signature[0].split("-")[0]).first() if signature else None
    of_session = f" of {_named(session)}" if session else ""
    return f"{found.name}{of_session} since {found.since:%Y-%m-%d %H:%M}"


def _named(session: UploadSession) -> str:
    user = session.owner_key if session.owner is None else session.owner
    return f"session {session.pk.hex} ({session.file_name!r} of {user})"


def _count(report: Report, size: int) -> None:
    report.orphans += 1
    report.orphan_bytes += size


def _count_freed(report: Report, size: int) -> None:
    report.freed += 1
    report.freed_bytes += size


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    iterator = iter(found)
    while batch := list(islice(iterator, conf.current().BATCH_SIZE)):
        yield batch
