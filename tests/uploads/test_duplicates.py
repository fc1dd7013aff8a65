"""Test that repeated chunks are stored once and equal chunks are all stored."""

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
from tests.helpers import Chunk, Uploader
from uploads._internal import sessions
from uploads._internal.protocols.onlyoffice.duplicates import RequestFingerprint
from uploads._internal.sessions import ByteRange
from uploads._internal.stores.base import Store
from uploads.exceptions import ChunkAmbiguous, SessionClosed, UploadError
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]

RAW = RequestFingerprint()
CONSTANT = RequestFingerprint(boundary="written by hand")


def generated() -> Iterator[RequestFingerprint]:
    """Yield fingerprints of a browser's forms, each on its own connection."""
    return (RequestFingerprint(f"f{n}", generated=True, connection=f"c{n}") for n in itertools.count())


def send(
    session: UploadSession, data: bytes, fingerprint: RequestFingerprint | None = RAW, start: int | None = None
) -> UploadSession:
    row = UploadSession.objects.get(pk=session.pk)
    place = None if start is None else ByteRange(start, start + len(data) - 1, None)
    return sessions.receive(row, Chunk(iter([data]), at_most=len(data), range=place, fingerprint=fingerprint))


def content(store: Store, session: UploadSession) -> bytes:
    return b"".join(store.read(session.object_name))


@axes(
    store=STORES,
    size={"parts": 10 * MIB, "fragments": MIB},
    twice={f"chunk-{number}": number for number in range(4)},
    last={"short-last": 512, "all-alike": 0},
)
def test_repeated_form_is_stored_once(
    store: Store, open_session: OpenSession, uploads_settings: Callable[..., None], size: int, twice: int, last: int
) -> None:
    uploads_settings(MIN_CHUNK_SIZE=size)
    data = some_bytes(3 * size + (last or size))
    session, fingerprints = open_session(len(data)), generated()
    for number, start in enumerate(range(0, len(data), size)):
        fingerprint = next(fingerprints)
        after = send(session, data[start : start + size], fingerprint)
        if number == twice:
            after = send(session, data[start : start + size], replace(fingerprint, connection="another"))
        assert after.bytes_stored == min(len(data), start + size)
    assert after.state == State.COMPLETED
    assert content(store, session) == data


@axes(store=STORES, fingerprint={"raw": RAW, "constant": CONSTANT}, size={"parts": 10 * MIB, "fragments": MIB})
def test_ambiguous_chunk_needs_its_offset(
    store: Store,
    open_session: OpenSession,
    uploads_settings: Callable[..., None],
    fingerprint: RequestFingerprint,
    size: int,
) -> None:
    uploads_settings(MIN_CHUNK_SIZE=size)
    data = some_bytes(size) * 3
    session = open_session(len(data))
    send(session, data[:size], fingerprint)
    for start in (size, 2 * size):
        with pytest.raises(ChunkAmbiguous) as ambiguous:
            send(session, data[start : start + size], fingerprint)
        assert ambiguous.value.context == {"expected": start}
        after = send(session, data[start : start + size], fingerprint, start=start)
    assert after.state == State.COMPLETED
    assert content(store, session) == data


def test_repeated_chunk_beyond_file_is_stored_once(store: Store, open_session: OpenSession) -> None:
    data = some_bytes(10 * MIB + 512)
    session = open_session(len(data))
    for _ in range(2):
        assert send(session, data[: 10 * MIB]).bytes_stored == 10 * MIB
    assert send(session, data[10 * MIB :]).state == State.COMPLETED
    assert content(store, session) == data


@pytest.mark.parametrize(
    "fingerprints",
    [
        pytest.param(itertools.repeat(RequestFingerprint(connection="one")), id="raw-on-one-connection"),
        pytest.param(itertools.repeat(replace(CONSTANT, connection="one")), id="constant-on-one-connection"),
        pytest.param(generated(), id="forms-of-a-browser"),
        pytest.param(itertools.repeat(None), id="within-the-process"),
    ],
)
def test_all_equal_chunks_are_stored(
    store: Store, open_session: OpenSession, fingerprints: Iterator[RequestFingerprint | None]
) -> None:
    session = open_session(40 * MIB)
    for fingerprint in itertools.islice(fingerprints, 4):
        after = send(session, bytes(10 * MIB), fingerprint)
    assert after.state == State.COMPLETED
    assert content(store, session) == bytes(40 * MIB)


def test_only_last_chunk_is_answered_again(file_store: Store, open_session: OpenSession) -> None:
    data = some_bytes(20 * MIB)
    session = open_session(len(data))
    for start in (0, 10 * MIB):
        done = send(session, data[start : start + 10 * MIB])
    assert send(session, data[10 * MIB :]).result == done.result
    for other in (data[: 10 * MIB], data, b"x", data[11 * MIB :]):
        with pytest.raises(SessionClosed):
            send(session, other)


CHUNK = 1024


@pytest.fixture
def chunks_of_1024(uploads_settings: Callable[..., None]) -> None:
    uploads_settings(MIN_CHUNK_SIZE=CHUNK, CHUNK_MULTIPLE=512)


@settings(max_examples=3 * settings().max_examples)
@given(
    letters=st.lists(st.sampled_from("ab"), min_size=1, max_size=6),
    last=st.sampled_from([0, 512]),
    repeats=st.lists(st.integers(0, 2), min_size=7, max_size=7),
    kind=st.sampled_from(["raw", "constant", "forms"]),
    connected=st.booleans(),
    follows=st.booleans(),
    insists=st.booleans(),
)
def test_repeats_never_corrupt_the_published_file(
    db: None,
    file_store: Store,
    open_session: OpenSession,
    chunks_of_1024: None,
    letters: list[str],
    last: int,
    repeats: list[int],
    kind: str,
    connected: bool,
    follows: bool,
    insists: bool,
) -> None:
    """Compare the published file with the data of a simulated client.

    The client sends each chunk once; the network repeats some chunks on other connections. With ``follows`` the client
    continues at the server's offset instead of its own. With ``insists`` it continues after a refusal.
    """
    data = b"".join(letter.encode() * CHUNK for letter in letters) + b"z" * last
    session, count = open_session(len(data), create_new=True), itertools.count()
    offset = refused = 0
    for _ in range(2 * len(letters) + 4):
        if offset >= len(data):
            break
        form = {"raw": "", "constant": "same"}.get(kind) or ("" if kind == "raw" else f"form {next(count)}")
        fingerprint = RequestFingerprint(form, kind == "forms", "kept" if connected else f"c{next(count)}")
        number = offset // CHUNK
        chunk = data[offset : offset + CHUNK]
        for again in range(1 + (repeats[number] if number < len(repeats) else 0)):
            where = replace(fingerprint, connection=f"again {next(count)}") if again else fingerprint
            try:
                session = send(session, chunk, where)
            except UploadError:
                refused += 1
        if refused and not insists:
            break
        offset = session.bytes_stored if follows else offset + len(chunk)
        if follows:
            repeats[number] = 0
    session = UploadSession.objects.get(pk=session.pk)
    if session.state == State.COMPLETED:
        assert content(file_store, session) == data
    if not any(repeats) and connected and not follows:
        assert session.state == State.COMPLETED
    if kind == "forms" and not follows and not refused:
        assert session.state == State.COMPLETED


@pytest.mark.parametrize(
    "boundary",
    [
        pytest.param("----WebKitFormBoundaryAbCdEfGhIjKlMnO{}", id="chromium"),
        pytest.param("----geckoformboundary95c3bfa2c7e15b8dd7b4c9f{}", id="firefox"),
        pytest.param("------------------------d74496d66958873{}", id="curl"),
        pytest.param("--------------------------40195437529138745022071{}", id="form-data"),
        pytest.param("----formdata-undici-01234567890{}", id="undici"),
        pytest.param("3f7c2a9b8e1d4f60a5b2c7d8e9f0a1b{}", id="urllib3"),
        pytest.param("3f7c2a9b8e1d4f60a5b2c7d8e9f0a1b23f7c2a9b8e1d4f60a5b2c7d8e9f{}", id="go"),
        pytest.param("f81d4fae-7dec-11d0-a765-00a0c91e6bf{}", id="okhttp"),
    ],
)
def test_generated_boundaries_identify_forms(file_store: Store, uploader: Uploader, boundary: str) -> None:
    data = some_bytes(25 * MIB)
    session = uploader.create(len(data))

    def post(start: int, number: int) -> Any:
        made = boundary.format(number)
        head = f'--{made}\r\nContent-Disposition: form-data; name="file"; filename="blob"\r\n\r\n'.encode()
        body = head + data[start : start + 10 * MIB] + f"\r\n--{made}--\r\n".encode()
        return uploader.send_raw(session, body, content_type=f"multipart/form-data; boundary={made}")

    answers = [post(start, number) for number, start in enumerate(range(0, len(data), 10 * MIB)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 201, 201]
    assert [answer.json()["data"].get("bytes_uploaded") for answer in answers[:4]] == [10 * MIB] * 2 + [20 * MIB] * 2
    assert uploader.download(answers[-1]) == data
    assert (post(0, 5).status_code, post(0, 5).json()["error"]["type"]) == (409, "session_closed")
