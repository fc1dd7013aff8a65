"""Find problems of stores, clocks, Celery and connections that the settings cannot show."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from importlib.util import find_spec

from django.core.checks import run_checks
from django.utils import timezone

from uploads._internal import conf, registry
from uploads._internal.clock import DatabaseNow
from uploads._internal.direct_probe import probe_direct
from uploads._internal.parts import MIN_PART_SIZE
from uploads._internal.registry import Finding
from uploads._internal.sessions.direct import offers_direct
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Part, Store, Upload, encrypted_well_enough
from uploads._internal.stores.buffer import Buffer
from uploads._internal.transfer.targets import largest_in_one_upload
from uploads.destinations import aliases, get_destination
from uploads.destinations.registry import storages_in_use
from uploads.exceptions import StoreRefused, StoreUnavailable, UploadError, UploadGone
from uploads.models import TaskRun, UploadSession

MAX_DATABASE_SKEW = timedelta(seconds=5)
OVERDUE = timedelta(minutes=15)
"""Maximum time since the last run of the tasks for expiry and completion."""

PROBES = "object", "multipart", "aborted", "parts", "damaged", "encrypted"
"""Last segments of the names of the doctor's objects."""


def examine(url: str = "") -> Iterator[Finding]:
    """Yield findings as they are made.

    ``url`` is the portal's public address. If it is given, the protocols probe a chunk's way to the portal.
    """
    yield from _settings()
    for alias in storages_in_use() or [conf.current().STORAGE]:
        yield from _store(alias)
    yield from _clocks()
    yield from _tasks()
    if url:
        yield from _direct(url)
        for protocol in registry.registered():
            yield from protocol.probe(url)


def _direct(url: str) -> Iterator[Finding]:
    """Probe the stores of all destinations that let clients send parts straight to the store."""
    aliases_offered = {
        storage
        for destination in map(get_destination, aliases())
        if offers_direct(destination)
        for storage in destination.storages
    }
    for alias in sorted(aliases_offered):
        store = get_store(alias)
        if not store.writes_anywhere:
            yield from probe_direct(store, f"{conf.current().OBJECT_PREFIX}/doctor/{uuid.uuid4().hex}/direct", url)


def _settings() -> Iterator[Finding]:
    messages = [message for message in run_checks(tags=["uploads"]) if not message.is_silenced()]
    for message in messages:
        yield Finding("settings", ok=False, text=f"{message.id}: {message.msg} {message.hint or ''}".strip())
    if not messages:
        yield Finding("settings", ok=True, text="the system checks report no problems")


def _store(alias: str) -> Iterator[Finding]:
    config = conf.current()
    store, prefix = get_store(alias), f"{config.OBJECT_PREFIX}/doctor/{uuid.uuid4().hex}"
    store.forget_capabilities()
    try:
        yield _read_and_write(store, f"{prefix}/object")
        yield from _multipart(store, f"{prefix}/multipart")
        yield from _abort(store, prefix)
        yield from _parts(store, f"{prefix}/parts")
        yield _checksum(store, f"{prefix}/damaged")
        yield _encryption(store, f"{prefix}/encrypted")
        yield _composing(store)
        yield _missing(store, f"{prefix}/missing")
        yield _bulk_deletion(store, prefix)
        yield _capabilities(store)
        problems = list(store.diagnose(config.OBJECT_PREFIX, config.SESSION_LIFETIME))
    except UploadError as error:
        why = error.__cause__ or error
        yield Finding("store", ok=False, text=f"STORAGES[{alias!r}] does not work: {why}")
        yield from (Finding("store", ok=False, text=problem) for problem in store.clock_problems())
        return
    finally:
        with suppress(UploadError):
            store.delete([f"{prefix}/{name}" for name in PROBES])
    yield from (Finding("store", ok=False, text=problem) for problem in problems)
    if not problems:
        yield Finding("store", ok=True, text="no lifecycle rule or clock endangers uploads")


def _read_and_write(store: Store, name: str) -> Finding:
    store.put_fragment(name, Buffer(b"doctor"), encrypted=False)
    same = b"".join(store.read(name)) == b"doctor"
    store.delete([name])
    return Finding(
        "store", ok=same, text="reading and writing work" if same else "the bytes read differ from the bytes written"
    )


def _multipart(store: Store, name: str) -> Iterator[Finding]:
    first, last, whole = Buffer(bytes(MIN_PART_SIZE)), Buffer(b"doctor"), Buffer()
    upload = Upload(name, store.create(name, content_type="application/octet-stream", encrypted=False))
    parts = []
    try:
        for number, data in ((1, first), (2, last)):
            etag, _ = store.put_part(upload, number=number, offset=len(whole), data=data)
            parts.append(Part(number, len(data), data.crc32, etag))
            whole.extend(data)
        store.complete(upload, parts, crc32=whole.crc32)
    except StoreRefused as error:
        yield Finding("store", ok=False, text=f"an upload of two parts cannot be completed: {error}")
        return
    finally:
        store.abort(upload)
    stored = store.stat(name)
    store.delete([name])
    good = stored is not None and stored.size == len(whole) and stored.crc32 in (None, whole.crc32)
    yield Finding(
        "store",
        ok=good,
        text="multipart uploads work" if good else f"a multipart upload was stored wrongly, as {stored}",
    )
    if stored and stored.crc32 is None and store.min_part_size > 1:
        text = (
            "the store keeps no checksum of whole files: each part and the file's size are verified, its content is not"
        )
        yield Finding("store", ok=True, text=text)


def _abort(store: Store, prefix: str) -> Iterator[Finding]:
    name = f"{prefix}/aborted"
    upload = Upload(name, store.create(name, content_type="application/octet-stream", encrypted=False))
    store.put_part(upload, number=1, offset=0, data=Buffer(b"doctor"))
    try:
        listed = any(found.upload.id == upload.id for found in store.list_uploads(prefix))
    except StoreRefused:
        listed = False
    store.list_parts(upload)  # The store's record learns whether it can.
    store.abort(upload)
    gone = False
    try:
        store.put_part(upload, number=1, offset=0, data=Buffer(b"doctor"))
    except UploadGone:
        gone = True
    yield Finding("store", ok=gone, text="aborting works" if gone else "an aborted upload still exists and is billed")
    if not listed:
        text = (
            "the store does not list multipart uploads below a prefix, so the audit cannot find abandoned ones: "
            "add a lifecycle rule that aborts incomplete uploads after 7 days"
        )
        yield Finding("store", ok=True, text=text)


def _parts(store: Store, name: str) -> Iterator[Finding]:
    """Use the largest part number, write a part twice, and complete the upload with the first write."""
    if store.min_part_size == 1:
        return
    upload = Upload(name, store.create(name, content_type="application/octet-stream", encrypted=False))
    first, second = Buffer(b"doctor"), Buffer(b"rotcod")
    try:
        etag, _ = store.put_part(upload, number=1, offset=0, data=first)
        store.put_part(upload, number=1, offset=0, data=second)
        with suppress(UploadError):
            store.complete(upload, [Part(1, len(first), first.crc32, etag)], crc32=first.crc32)
    finally:
        store.abort(upload)
    stored = store.stat(name)
    good = stored is None or stored.crc32 is not None or b"".join(store.read(name)) == b"doctor"
    text = "completing names the writes of parts" if good else "the store ignores which write of a part is completed"
    yield Finding("store", ok=good, text=text)
    upload = Upload(name, store.create(name, content_type="application/octet-stream", encrypted=False))
    try:
        store.put_part(upload, number=store.max_parts, offset=0, data=Buffer(b"doctor"))
    except StoreRefused as error:
        text = f"part {store.max_parts} is refused ({error}): set MAX_PARTS in UPLOADS['STORES'][{store.alias!r}]"
        yield Finding("store", ok=False, text=text)
    finally:
        store.abort(upload)


def _checksum(store: Store, name: str) -> Finding:
    if store.min_part_size == 1:
        return Finding("store", ok=True, text="the file system stores bytes unchanged")
    if store.capabilities().get("CHECKSUMS") is False:
        return Finding("store", ok=True, text="parts are sent without checksums: serve the store over TLS")
    upload = Upload(name, store.create(name, content_type="application/octet-stream", encrypted=False))
    damaged = Buffer(b"doctor")
    damaged.crc32 ^= 1
    try:
        store.put_part(upload, number=1, offset=0, data=damaged)
    except StoreUnavailable:
        return Finding("store", ok=True, text="parts with wrong checksums are refused")
    finally:
        store.abort(upload)
    return Finding("store", ok=False, text="the store accepts parts with wrong checksums: serve it over TLS")


def _missing(store: Store, name: str) -> Finding:
    try:
        found = store.stat(name)
    except StoreUnavailable:
        text = "requests for missing objects fail: grant s3:ListBucket, or a lost file looks like an outage"
        return Finding("store", ok=False, text=text)
    return Finding("store", ok=found is None, text="missing objects are reported as missing")


def _composing(store: Store) -> Finding:
    text = "files of any size are possible"
    if store.limits_parts and not store.composes:
        most = largest_in_one_upload(store) / 2**40
        text = f"the store cannot join uploads, so a file can have at most {most:.1f} TiB (MAX_BUFFER_MEMORY)"
    return Finding("store", ok=True, text=text)


def _bulk_deletion(store: Store, prefix: str) -> Finding:
    store.delete([f"{prefix}/none", f"{prefix}/neither"])
    return Finding("store", ok=True, text="objects can be deleted")


def _capabilities(store: Store) -> Finding:
    encrypts = store.encrypts  # Detected now, if it is unknown.
    found = store.capabilities() | ({"ENCRYPTS": encrypts} if store.supports_encryption else {})
    if not found:
        return Finding("store", ok=True, text="a file system needs no entry in STORES")
    return Finding(
        "store", ok=True, text=f'detected capabilities, as a setting: "STORES": {{"{store.alias}": {found}}}'
    )


def _encryption(store: Store, name: str) -> Finding:
    if not store.supports_encryption:
        return Finding("store", ok=True, text="encrypted files are refused: this kind of storage has no encryption")
    store.put_fragment(name, Buffer(b"doctor"), encrypted=True)
    stored = store.stat(name)
    store.delete([name])
    found, wanted = stored.encryption if stored else "", conf.current().ENCRYPTION
    if encrypted_well_enough(found, wanted):
        return Finding("store", ok=True, text=f"encryption at rest works ({wanted})")
    text = f"the store reports {found or 'no encryption'} instead of {wanted}: encrypted files will fail"
    return Finding("store", ok=False, text=text)


def _clocks() -> Iterator[Finding]:
    TaskRun.note("doctor")
    row = TaskRun.objects.annotate(now=DatabaseNow()).get(name="doctor")
    skew = abs(timezone.now() - row.now)
    text = f"the clocks of this host and the database differ by {skew.total_seconds():.1f} s"
    yield Finding("clock", ok=skew < MAX_DATABASE_SKEW, text=text)


def _tasks() -> Iterator[Finding]:
    ran = set(TaskRun.objects.filter(ran_at__gt=timezone.now() - OVERDUE).values_list("name", flat=True))
    yield _celery(done_anyway={"expire", "complete"} <= ran)
    yield from (_last_run(name) for name in ("expire", "complete"))
    overdue = UploadSession.objects.stale().filter(expires_at__lt=timezone.now() - OVERDUE).order_by("expires_at")
    if oldest := overdue.first():
        text = f"{overdue.count()} sessions are overdue for expiry, the oldest is {oldest.label}"
        yield Finding("tasks", ok=False, text=text)


def _celery(*, done_anyway: bool) -> Finding:
    """Report the workers that respond.

    Missing workers are acceptable if something else, like cron, runs the tasks.
    """
    if find_spec("celery") is None:
        return Finding("tasks", ok=True, text="Celery is not installed; another task queue or cron must run the tasks")
    from uploads.tasks import workers

    try:
        answering = workers()
    except Exception as error:
        text = f"the Celery broker does not answer: {error}"
    else:
        if answering:
            return Finding("tasks", ok=True, text=f"responding Celery workers: {', '.join(answering)}")
        text = "no Celery worker answers"
    hint = "but the tasks do run (by cron?)" if done_anyway else "start one, or run the management commands from cron"
    return Finding("tasks", ok=done_anyway, text=f"{text}; {hint}")


def _last_run(name: str) -> Finding:
    """Report when sessions were last expired or completed.

    A portal without old sessions need not have had a run yet.
    """
    run, limit = TaskRun.objects.filter(name=name).first(), timezone.now() - OVERDUE
    if run is None:
        good = not UploadSession.objects.filter(created_at__lt=limit).exists()
        text = f"sessions have not been {name}d yet"
    else:
        good = run.ran_at > limit
        text = f"sessions were last {name}d {(timezone.now() - run.ran_at).total_seconds() / 60:.0f} minutes ago"
    hint = "" if good else ": check that beat or cron is running"
    return Finding("tasks", ok=good, text=f"{text}{hint}")
