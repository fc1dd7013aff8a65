from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import weed
from tests.data import MIB, some_bytes
from tests.foreign import ForeignStore
from tests.helpers import Chunk, chunk_of, finalize
from tests.proxy import Proxy
from uploads._internal import sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.sessions.numbered.receive import ChunkNumberInvalid
from uploads._internal.sessions.rules import ANY
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer.targets import upload_of
from uploads.exceptions import (
    ChunkBeyondFile,
    ChunkSizeDiffers,
    ChunkTooSmall,
    FileTooLarge,
    ModeConflict,
    SessionClosed,
    UploadIncomplete,
)
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]


def split(data: bytes, size: int) -> dict[int, bytes]:
    starts = range(0, max(1, len(data)), size)
    return {number: data[start : start + size] for number, start in enumerate(starts, 1)}


def send(session: UploadSession, number: int, data: bytes, size: int | None = None) -> UploadSession:
    blocks = (data[start : start + MIB] for start in range(0, len(data), MIB))
    return sessions.receive_numbered(session, Chunk(blocks, at_most=len(data), size=size), number)


@pytest.mark.parametrize(
    ("total", "chunk_size", "minimum"),
    [
        pytest.param(32 * MIB, 10 * MIB, 10 * MIB, id="of-10-MiB"),
        pytest.param(32 * MIB, 5 * MIB, 5 * MIB, id="of-5-MiB"),
        pytest.param(12 * MIB + 5, 1_047_552, 512, id="below-the-minimum-of-s3"),
        pytest.param(60 * MIB, 27 * MIB, 10 * MIB, id="larger-than-a-part"),
        pytest.param(7, 1, 1, id="single-bytes"),
        pytest.param(0, 1, 1, id="empty"),
    ],
)
def test_chunks_in_any_order_form_the_file(
    store: Store,
    open_session: OpenSession,
    uploads_settings: Callable[..., None],
    total: int,
    chunk_size: int,
    minimum: int,
) -> None:
    uploads_settings(MIN_CHUNK_SIZE=minimum, CHUNK_MULTIPLE=1)
    data = some_bytes(total)
    session = open_session(total)
    chunks = list(split(data, chunk_size).items())
    random.Random(1).shuffle(chunks)
    for number, chunk in chunks:
        session = send(session, number, chunk)
        assert session.state == State.OPEN
    session = finalize(session)
    assert session.state == State.COMPLETED, session.failure
    assert b"".join(store.read(session.object_name)) == data
    assert finalize(UploadSession.objects.get()).result == session.result


def test_finalize_leaves_only_the_file(
    s3_store: Store, small_chunks: None, open_session: OpenSession, s3_keys: Callable[[], set[str]]
) -> None:
    session = open_session(4)
    for number, byte in [(2, b"c"), (1, b"ab"), (2, b"cd")]:
        send(session, number, byte)
    session = finalize(session)
    assert b"".join(s3_store.read(session.object_name)) == b"abcd"
    assert s3_keys() == {f"media/{session.object_name}"}


def test_resent_number_replaces_its_chunk(store: Store, open_session: OpenSession) -> None:
    data = some_bytes(21 * MIB)
    session = open_session(len(data))
    send(session, 1, bytes(10 * MIB))
    for number, chunk in split(data, 10 * MIB).items():
        send(session, number, chunk)
    assert UploadSession.objects.get().bytes_stored == len(data)
    session = finalize(UploadSession.objects.get())
    assert b"".join(store.read(session.object_name)) == data


def test_failed_replacement_keeps_the_stored_chunk(store: Store, open_session: OpenSession) -> None:
    data = some_bytes(20 * MIB)
    session = open_session(len(data))
    for number, chunk in split(data, 10 * MIB).items():
        send(session, number, chunk)

    def cut() -> Iterator[bytes]:
        yield bytes(9 * MIB)
        raise IncompleteBody(received=9, declared=10)

    with pytest.raises(IncompleteBody):
        sessions.receive_numbered(session, Chunk(cut()), 1)
    session = finalize(UploadSession.objects.get())
    assert b"".join(store.read(session.object_name)) == data


def test_repeated_attempts_exhaust_no_part_numbers(s3_store: Store, open_session: OpenSession) -> None:
    data = some_bytes(15 * MIB)
    session = open_session(len(data))
    for attempt in range(4):
        send(session, 1, bytes([attempt]) * 10 * MIB)
    for number, chunk in split(data, 10 * MIB).items():
        send(session, number, chunk)
    session = finalize(UploadSession.objects.get())
    assert session.state == State.COMPLETED, session.failure
    assert b"".join(s3_store.read(session.object_name)) == data


def test_truncated_chunk_leaves_no_fragments(file_store: Store, open_session: OpenSession, tmp_path: Path) -> None:
    session = open_session(40 * MIB)

    def cut() -> Iterator[bytes]:
        yield bytes(25 * MIB)
        raise IncompleteBody(received=25, declared=40)

    with pytest.raises(IncompleteBody):
        sessions.receive_numbered(session, Chunk(cut()), 1)
    assert [path.name for path in tmp_path.rglob("*fragment*")] == []


def test_max_chunk_size_does_not_limit_file(
    file_store: Store, small_chunks: None, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(MAX_CHUNK_SIZE=2)
    session = open_session(6)
    for number in (1, 2, 3):
        send(session, number, b"xy")
    assert finalize(session).state == State.COMPLETED


def test_unnumbered_chunks_wait_for_finalize(file_store: Store, small_chunks: None, open_session: OpenSession) -> None:
    session = open_session(3)
    for byte in (b"a", b"b", b"c"):
        assert sessions.receive(session, chunk_of(byte), completes=False).state == State.OPEN
    with pytest.raises(ChunkBeyondFile):
        sessions.receive(session, chunk_of(b"d"), completes=False)
    assert b"".join(file_store.read(finalize(session).object_name)) == b"abc"


@pytest.mark.parametrize("numbers", [(1, 3), (1, 2), ()])
def test_finalize_names_missing_chunks(
    file_store: Store, small_chunks: None, open_session: OpenSession, numbers: tuple[int, ...]
) -> None:
    session = open_session(3)
    for number in numbers:
        send(session, number, b"x")
    expected = {(1, 3): "missing chunks: 2", (1, 2): "chunks after 2 are missing", (): "0 of 3 bytes"}[numbers]
    with pytest.raises(UploadIncomplete, match=expected):
        finalize(session)
    for number in {1, 2, 3} - set(numbers):
        send(session, number, b"x")
    assert finalize(session).state == State.COMPLETED


@pytest.mark.parametrize("number", [0, 4, 10**9, 10**30])
def test_out_of_range_numbers_are_refused(
    file_store: Store, small_chunks: None, open_session: OpenSession, number: int
) -> None:
    with pytest.raises(ChunkNumberInvalid):
        send(open_session(3), number, b"x")
    with pytest.raises(ChunkNumberInvalid):
        send(open_session(0), 2, b"")


def test_chunk_size_limits_are_enforced(file_store: Store, open_session: OpenSession) -> None:
    session = open_session(25 * MIB)
    with pytest.raises(ChunkTooSmall):
        send(session, 1, bytes(MIB))  # Chunk 1 of a longer file cannot be the last.
    send(session, 1, bytes(15 * MIB))
    send(session, 2, bytes(10 * MIB))
    with pytest.raises(ChunkBeyondFile):
        send(session, 3, bytes(1))
    assert finalize(session).state == State.COMPLETED


@pytest.mark.parametrize(
    ("sizes", "number", "size"),
    [
        pytest.param({1: 10}, 2, 9, id="smaller-in-the-middle"),
        pytest.param({1: 10}, 2, 11, id="larger"),
        pytest.param({3: 10, 4: 10}, 1, 9, id="first-after-two-others"),
        pytest.param({3: 12}, 1, 9, id="arithmetic"),
        pytest.param({1: 10}, 3, 25, id="larger-at-the-end"),
    ],
)
def test_differing_chunk_sizes_are_refused(
    store: Store, small_chunks: None, open_session: OpenSession, sizes: dict[int, int], number: int, size: int
) -> None:
    session = open_session(45)
    for stored, expected in sizes.items():
        send(session, stored, bytes(expected))
    with pytest.raises(ChunkSizeDiffers) as refused:
        send(session, number, bytes(size))
    assert refused.value.context == {"number": number, "size": size, "expected": expected}
    assert UploadSession.objects.get().bytes_stored == sum(sizes.values())


def test_numbered_and_ordered_chunks_conflict(file_store: Store, small_chunks: None, open_session: OpenSession) -> None:
    numbered = send(open_session(2), 1, b"a")
    with pytest.raises(ModeConflict):
        sessions.receive(numbered, chunk_of(b"b"))
    ordered = sessions.receive(open_session(2), chunk_of(b"a"))
    with pytest.raises(ModeConflict):
        send(ordered, 2, b"b")
    with pytest.raises(UploadIncomplete):
        finalize(ordered)


def test_chunk_overtaken_by_finalize_is_refused(
    file_store: Store, small_chunks: None, open_session: OpenSession
) -> None:
    session = send(open_session(1), 1, b"a")

    def late() -> Iterator[bytes]:
        finalize(UploadSession.objects.get(pk=session.pk))
        yield b"z"

    with pytest.raises(SessionClosed):
        sessions.receive_numbered(session, Chunk(late()), 1)
    assert b"".join(file_store.read(session.object_name)) == b"a"


def test_concurrent_attempts_do_not_corrupt_a_chunk(s3_store: Store, open_session: OpenSession) -> None:
    data = some_bytes(10 * MIB)
    session = open_session(len(data))

    def meanwhile() -> Iterator[bytes]:
        yield bytes(MIB)
        send(UploadSession.objects.get(pk=session.pk), 1, data)
        raise IncompleteBody(received=MIB, declared=10 * MIB)

    with pytest.raises(IncompleteBody):
        sessions.receive_numbered(session, Chunk(meanwhile()), 1)
    done = finalize(UploadSession.objects.get())
    assert b"".join(s3_store.read(done.object_name)) == data


def test_three_chunks_complete_in_every_order(file_store: Store, small_chunks: None, open_session: OpenSession) -> None:
    for order in itertools.permutations((1, 2, 3)):
        session = open_session(6, create_new=True)
        for number in order:
            send(session, number, str(number).encode() * 2)
        assert b"".join(file_store.read(finalize(session).object_name)) == b"112233"


def test_failed_attempts_do_not_accumulate_bytes(
    s3_store: Store, open_session: OpenSession, s3_keys: Callable[[], set[str]]
) -> None:
    data = some_bytes(20 * MIB)
    session = open_session(len(data))

    def cut() -> Iterator[bytes]:
        yield data[: 15 * MIB]
        raise IncompleteBody(received=15 * MIB, declared=len(data))

    for _ in range(5):
        with pytest.raises(IncompleteBody):
            sessions.receive_numbered(UploadSession.objects.get(), Chunk(cut(), at_most=len(data), size=len(data)), 1)
    session.refresh_from_db()
    assert s3_store.upload_size(upload_of(session)) == 10 * MIB
    assert s3_keys() == set()
    send(session, 1, data)
    session = finalize(session)
    assert b"".join(s3_store.read(session.object_name)) == data
    assert s3_keys() == {f"media/{session.object_name}"}


def test_large_chunks_become_parts_directly(s3_store: Store, open_session: OpenSession) -> None:
    """Once the chunk size is known, each byte is written only once."""
    session = open_session(20 * 2**30)
    data = some_bytes(64 * MIB)
    for number in (1, 3, 2, 320):
        session = send(session, number, data, size=len(data))
    assert [part.offset // (64 * MIB) for part in session.parts.all()] == [0] * 8 + [1] * 8 + [2] * 8 + [319] * 8
    assert not session.fragments.exists()
    sessions.abort(session)


def test_finalize_fixes_an_unknown_file_size(store: Store, open_session: OpenSession) -> None:
    data = some_bytes(23 * MIB)
    session = open_session(None)
    for number, chunk in split(data, 10 * MIB).items():
        session = send(session, number, chunk)
    with pytest.raises(UploadIncomplete, match="missing chunks: 4"):
        sessions.finalize(session, ANY, numbers=[1, 2, 3, 4])
    with pytest.raises(UploadIncomplete):
        sessions.finalize(session, ANY)
    session = sessions.finalize(UploadSession.objects.get(), ANY, numbers=[1, 2, 3])
    assert (session.state, session.file_size) == (State.COMPLETED, len(data))
    assert b"".join(store.read(session.object_name)) == data


@pytest.mark.parametrize("size", [None, 20 * MIB], ids=["undeclared", "declared"])
def test_oversized_chunk_changes_no_other_chunk(proxy: Proxy, open_session: OpenSession, size: int | None) -> None:
    proxy.store = ForeignStore(refuses_unlisted=True)
    data = some_bytes(35 * MIB)
    session = open_session(len(data))
    for number, chunk in split(data, 10 * MIB).items():
        send(session, number, chunk)
    for number in (1, 3, 4):
        with pytest.raises((ChunkSizeDiffers, ChunkBeyondFile)):
            send(UploadSession.objects.get(), number, bytes(20 * MIB), size=size)
    session = finalize(UploadSession.objects.get())
    assert session.state == State.COMPLETED, session.failure
    assert b"".join(get_store("default").read(session.object_name)) == data


def test_chunk_of_undeclared_size_cannot_shrink(proxy: Proxy, open_session: OpenSession) -> None:
    """The superseded parts would stay in the upload; some stores then refuse Complete."""
    proxy.store = ForeignStore(refuses_unlisted=True)
    session = open_session(None)
    for number in (1, 2):
        send(session, number, bytes(16 * MIB))
    with pytest.raises(ChunkSizeDiffers):
        send(session, 2, bytes(5 * MIB))
    session = sessions.finalize(UploadSession.objects.get(), ANY, numbers=[1, 2])
    assert session.state == State.COMPLETED, session.failure


def test_undeclared_file_beyond_one_upload_is_refused(
    s3_store: Store, open_session: OpenSession, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(PART_SIZE=5 * MIB, STORES={"default": {"MAX_PARTS": 2}})
    session = open_session(None)
    send(session, 2, bytes(24 * MIB))
    with pytest.raises(FileTooLarge, match="declare it"):
        send(session, 1, bytes(10 * MIB), size=10 * MIB)


def test_oversized_chunk_does_not_fix_chunk_size(s3_store: Store, open_session: OpenSession) -> None:
    data = some_bytes(20 * MIB)
    session = open_session(len(data))
    with pytest.raises(ChunkBeyondFile):
        send(session, 2, bytes(20 * MIB + 1000), size=20 * MIB + 1000)
    for number, chunk in split(data, 10 * MIB).items():
        send(session, number, chunk)
    assert b"".join(s3_store.read(finalize(UploadSession.objects.get()).object_name)) == data


def test_abort_with_stale_row_releases_upload(
    s3_store: Store, open_session: OpenSession, s3_uploads: Callable[[], set[str]]
) -> None:
    session = open_session(40 * MIB)
    send(session, 3, bytes(10 * MIB))
    stale = UploadSession.objects.get()
    send(UploadSession.objects.get(), 1, bytes(10 * MIB))
    sessions.abort(stale)
    assert s3_uploads() == set()


def test_replacing_wrongly_sized_chunk_keeps_neighbors(store: Store, open_session: OpenSession) -> None:
    """The chunk arrived before the chunk size was known and overlaps its successor."""
    data = some_bytes(53 * MIB)
    session = open_session(len(data))
    send(session, 2, bytes(17 * MIB))
    for number in (1, 3, 2, 4, 5, 6):
        send(UploadSession.objects.get(), number, split(data, 10 * MIB)[number])
    session = UploadSession.objects.get()
    assert session.bytes_stored == sum(row.size for row in sessions.stored_of(session)) == len(data)
    assert b"".join(store.read(finalize(session).object_name)) == data


def test_changed_fragment_is_noticed(s3_store: Store, open_session: OpenSession, s3_client: Any) -> None:
    """Fragments may be larger than the parts, if the first chunk arrives after others."""
    chunks = split(some_bytes(44 * MIB), 24 * MIB)
    session = send(open_session(44 * MIB), 2, chunks[2])
    fragment = max(session.fragments.all(), key=lambda fragment: fragment.size)
    address = {"Bucket": weed.BUCKET, "Key": f"media/{fragment.name}"}
    body = s3_client.get_object(**address)["Body"].read()
    s3_client.put_object(**address, Body=b"changed" + body[7:])
    session = finalize(send(session, 1, chunks[1]))
    assert session.state != State.COMPLETED
