"""Chunks that arrive twice although their client sent them once: never other bytes, and honest clients get through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.axes import STORES, axes
from tests.data import MIB, some_bytes
from tests.helpers import Chunk, Uploader, finalize
from uploads import sessions
from uploads.exceptions import ChunkAmbiguous, SessionClosed, UploadError
from uploads.models import State, UploadSession
from uploads.sessions import ByteRange, Origin
from uploads.stores.base import Store

OpenSession = Callable[..., UploadSession]

RAW = Origin()
CONSTANT = Origin(label="written by hand")


def fresh() -> Iterator[Origin]:
    """Make origins as a browser's forms have them, each on a connection of its own."""
    return (Origin(label=f"f{n}", generated=True, connection=f"c{n}") for n in itertools.count())


def send(session: UploadSession, data: bytes, origin: Origin | None = RAW, start: int | None = None) -> UploadSession:
    fresh_row = UploadSession.objects.get(pk=session.pk)
    place = None if start is None else ByteRange(start, start + len(data) - 1, None)
    return sessions.receive(fresh_row, Chunk(iter([data]), at_most=len(data), range=place, origin=origin))


def content(store: Store, session: UploadSession) -> bytes:
    return b"".join(store.read(session.object_name))


@axes(
    store=STORES,
    size={"parts": 10 * MIB, "pieces": MIB},
    twice={f"chunk-{number}": number for number in range(4)},
    last={"short-last": 512, "all-alike": 0},
)
def test_a_form_that_is_repeated_is_stored_once(
    store: Store, open_session: OpenSession, uploads_settings: Callable[..., None], size: int, twice: int, last: int
) -> None:
    uploads_settings(MIN_CHUNK_SIZE=size)
    data = some_bytes(3 * size + (last or size))
    session, origins = open_session(len(data)), fresh()
    for number, start in enumerate(range(0, len(data), size)):
        origin = next(origins)
        after = send(session, data[start : start + size], origin)
        if number == twice:
            after = send(session, data[start : start + size], replace(origin, connection="another"))
        assert after.bytes_certain == min(len(data), start + size)
    assert after.state == State.COMPLETED
    assert content(store, session) == data


@axes(
    store=STORES,
    origin={"raw": RAW, "constant": CONSTANT},
    size={"parts": 10 * MIB, "pieces": 2 * MIB},
    twice={f"chunk-{number}": number for number in range(3)},
)
def test_what_goes_beyond_the_file_shows_that_a_chunk_was_a_copy(
    store: Store,
    open_session: OpenSession,
    uploads_settings: Callable[..., None],
    origin: Origin,
    size: int,
    twice: int,
) -> None:
    uploads_settings(MIN_CHUNK_SIZE=size)
    data = some_bytes(3 * size + 512)
    session = open_session(len(data))
    certain = [
        send(session, data[start : start + size], origin).bytes_certain
        for number, start in enumerate(range(0, len(data), size))
        for _ in range(1 + (number == twice))
    ]
    assert certain == sorted(certain)
    assert content(store, session) == data
    assert UploadSession.objects.get().state == State.COMPLETED


def test_a_sum_that_another_reading_contradicts_publishes_nothing(store: Store, open_session: OpenSession) -> None:
    """A A B of A B C: as many bytes as the file has. The client is told, and can say where its chunk belongs."""
    a, b, c = (some_bytes(10 * MIB, seed) for seed in range(3))
    session = open_session(30 * MIB)
    for chunk in (a, a):
        after = send(session, chunk)
    assert after.bytes_certain == 10 * MIB
    with pytest.raises(ChunkAmbiguous):
        send(session, b)
    assert send(session, b, start=10 * MIB).bytes_certain == 20 * MIB
    assert send(session, c).state == State.COMPLETED
    assert content(store, session) == a + b + c


@pytest.mark.parametrize(
    ("origins", "size"),
    [
        pytest.param(itertools.repeat(Origin(connection="one")), 40 * MIB, id="raw-on-one-connection"),
        pytest.param(itertools.repeat(replace(CONSTANT, connection="one")), 40 * MIB, id="constant-on-one-connection"),
        pytest.param(fresh(), 40 * MIB, id="forms-of-a-browser"),
        pytest.param(itertools.repeat(None), 40 * MIB, id="within-the-process"),
        pytest.param(itertools.repeat(RAW), 35 * MIB, id="raw-with-a-short-last-chunk"),
        pytest.param(itertools.repeat(CONSTANT), 35 * MIB, id="constant-with-a-short-last-chunk"),
    ],
)
def test_a_file_of_zeros_is_uploaded(
    store: Store, open_session: OpenSession, origins: Iterator[Origin | None], size: int
) -> None:
    session = open_session(size)
    for start in range(0, size, 10 * MIB):
        after = send(session, bytes(min(10 * MIB, size - start)), next(origins))
    assert after.state == State.COMPLETED
    assert content(store, session) == bytes(size)


def test_zeros_without_any_evidence_get_through_with_content_range(store: Store, open_session: OpenSession) -> None:
    session = open_session(30 * MIB)
    for _ in range(2):
        send(session, bytes(10 * MIB))
    with pytest.raises(ChunkAmbiguous):
        send(session, bytes(10 * MIB))
    assert send(session, bytes(10 * MIB), start=20 * MIB).state == State.COMPLETED
    assert content(store, session) == bytes(30 * MIB)


def test_only_the_last_chunk_gets_its_answer_again(file_store: Store, open_session: OpenSession) -> None:
    data = some_bytes(20 * MIB)
    session = open_session(len(data))
    for start in (0, 10 * MIB):
        done = send(session, data[start : start + 10 * MIB])
    assert send(session, data[10 * MIB :]).result == done.result
    for other in (data[: 10 * MIB], data, b"x", data[11 * MIB :]):
        with pytest.raises(SessionClosed):
            send(session, other)


def test_chunks_without_a_number_that_come_twice(file_store: Store, open_session: OpenSession) -> None:
    a, b = some_bytes(10 * MIB), some_bytes(10 * MIB, 1)
    session, origins = open_session(20 * MIB), fresh()
    first = next(origins)

    def send_counted(data: bytes, origin: Origin) -> None:
        chunk = Chunk(iter([data]), at_most=len(data), origin=origin)
        sessions.receive_numbered(UploadSession.objects.get(pk=session.pk), chunk, None)

    send_counted(a, first)
    send_counted(a, replace(first, connection="another"))
    send_counted(b, next(origins))
    assert content(file_store, finalize(UploadSession.objects.get())) == a + b
    other = open_session(20 * MIB, create_new=True)
    session = other
    send_counted(a, RAW)
    with pytest.raises(ChunkAmbiguous):
        send_counted(a, RAW)


CHUNK = 1024


@pytest.fixture
def chunks_of_1024(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(MIN_CHUNK_SIZE=CHUNK, CHUNK_MULTIPLE=512)


@settings(max_examples=3 * settings().max_examples)
@given(
    letters=st.lists(st.sampled_from("ab"), min_size=1, max_size=6),
    last=st.sampled_from([0, 512]),
    copies=st.lists(st.integers(0, 2), min_size=7, max_size=7),
    kind=st.sampled_from(["raw", "constant", "forms"]),
    connected=st.booleans(),
    follows=st.booleans(),
    insists=st.booleans(),
)
def test_whatever_is_repeated_no_other_bytes_are_published(
    db: None,
    file_store: Store,
    open_session: OpenSession,
    chunks_of_1024: None,
    letters: list[str],
    last: int,
    copies: list[int],
    kind: str,
    connected: bool,
    follows: bool,
    insists: bool,
) -> None:
    """A client against a model: it sends each chunk once, the network repeats some on connections of their own.

    One client counts for itself, one follows what the server says is stored; one gives up when it is refused, one
    goes on all the same.
    """
    data = b"".join(letter.encode() * CHUNK for letter in letters) + b"z" * last
    session, count = open_session(len(data), create_new=True), itertools.count()
    offset = refused = 0
    for _ in range(2 * len(letters) + 4):
        if offset >= len(data):
            break
        form = {"raw": "", "constant": "same"}.get(kind) or ("" if kind == "raw" else f"form {next(count)}")
        origin = Origin(form, kind == "forms", "kept" if connected else f"c{next(count)}")
        number = offset // CHUNK
        chunk = data[offset : offset + CHUNK]
        for again in range(1 + (copies[number] if number < len(copies) else 0)):
            where = replace(origin, connection=f"again {next(count)}") if again else origin
            try:
                session = send(session, chunk, where)
            except UploadError:
                refused += 1
        if refused and not insists:
            break
        offset = session.bytes_certain if follows else offset + len(chunk)
        if follows:
            copies[number] = 0
    session = UploadSession.objects.get(pk=session.pk)
    if session.state == State.COMPLETED:
        assert content(file_store, session) == data
    if not any(copies) and connected and not follows:
        assert session.state == State.COMPLETED
    if kind == "forms" and not follows and not refused:
        assert session.state == State.COMPLETED


BOUNDARY = "----WebKitFormBoundaryAbCdEfGhIjKlMnOp"


def test_over_http_the_boundary_of_the_form_tells(file_store: Store, uploader: Uploader) -> None:
    data = some_bytes(25 * MIB)
    session = uploader.create(len(data))

    def post(start: int, boundary: str) -> Any:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="blob"\r\n\r\n'.encode()
        body = head + data[start : start + 10 * MIB] + f"\r\n--{boundary}--\r\n".encode()
        return uploader.send_raw(session, body, content_type=f"multipart/form-data; boundary={boundary}")

    answers = [
        post(start, BOUNDARY[:-1] + str(number))
        for number, start in enumerate(range(0, len(data), 10 * MIB))
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 201, 201]
    assert [answer.json()["data"].get("bytes_uploaded") for answer in answers[:4]] == [10 * MIB] * 2 + [20 * MIB] * 2
    assert uploader.download(answers[-1]) == data
    assert (post(0, BOUNDARY).status_code, post(0, BOUNDARY).json()["error"]["type"]) == (409, "session_closed")
