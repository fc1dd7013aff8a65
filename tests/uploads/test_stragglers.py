"""Stragglers: part writes that reach the store long after their sender is gone.

On stores of all kinds they corrupt no file and leave no session stuck.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.axes import axes
from tests.data import MIB, some_bytes
from tests.foreign import RULES, ForeignStore, Straggler
from tests.helpers import finalize
from tests.proxy import Action, Proxy, lose_answer, of_a_proxy, refuse, with_code
from uploads._internal import sessions
from uploads._internal.sessions import ByteRange, Chunk, Rules
from uploads._internal.stores import get_store
from uploads.exceptions import StoreUnavailable
from uploads.models import State, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = pytest.mark.django_db

TOTAL = 25 * MIB
CHUNK = 10 * MIB
DATA, OTHER = some_bytes(TOTAL), some_bytes(TOTAL, 1)
WAYS = {way: way for way in ("atomic", "progressive", "numbered")}


def row() -> UploadSession:
    session: UploadSession = UploadSession.objects.get()
    return session


def send(way: str, number: int, data: bytes) -> UploadSession:
    """Send chunk ``number`` with its bytes of ``data``."""
    session, start = row(), (number - 1) * CHUNK
    if way == "progressive":
        start = session.bytes_stored
    body = data[start : number * CHUNK]
    chunk = Chunk(
        iter([body[at : at + MIB] for at in range(0, len(body), MIB)]),
        at_most=len(body),
        size=len(body),
        range=None if way == "numbered" else ByteRange(start, start + len(body) - 1, None),
        rules=Rules(progressive=way == "progressive"),
    )
    return sessions.receive_numbered(session, chunk, number) if way == "numbered" else sessions.receive(session, chunk)


def complete(way: str) -> UploadSession:
    """Complete the file with retries, as the client and the task do."""
    session = finalize(row()) if way == "numbered" else row()
    for _ in range(4):
        if session.state == State.COMPLETING:
            UploadSession.objects.update(retry_at=None)
            session = sessions.complete(row())
    return session


def content() -> bytes:
    return b"".join(get_store("default").read(row().object_name))


@axes(
    store_rules=RULES,
    way=WAYS,
    first={"same-bytes": DATA, "other-bytes": OTHER},
    arrives={moment: moment for moment in ("before-the-resend", "after-the-resend", "at-complete")},
    most_parts={"one-upload": 10_000, "segments": 4},
)
def test_straggler_never_corrupts_the_file(
    proxy: Proxy,
    open_session: OpenSession,
    uploads_settings: Callable[..., None],
    store_rules: ForeignStore,
    way: str,
    first: bytes,
    arrives: str,
    most_parts: int,
) -> None:
    uploads_settings(PART_SIZE=5 * MIB, STORES={"default": {"MAX_PARTS": min(most_parts, store_rules.most_parts)}})
    proxy.store = replace(store_rules, parts={})
    open_session(TOTAL)
    send(way, 1, DATA)
    straggler = Straggler()
    proxy.inject("UploadPart", straggler.keep)
    with pytest.raises(StoreUnavailable):
        send(way, 2, first)
    acknowledged = row().bytes_stored
    assert acknowledged >= CHUNK
    data = DATA[:CHUNK] + first[CHUNK:acknowledged] + DATA[acknowledged:]
    if arrives == "before-the-resend":
        straggler.arrive()
    send(way, 2, data)
    if arrives == "after-the-resend":
        straggler.arrive()
    if arrives == "at-complete":
        proxy.inject("CompleteMultipartUpload", straggler.arrive_before)
    send(way, 3, data)
    session = complete(way)
    assert session.state == State.COMPLETED, session.failure
    assert content() == data


@pytest.mark.parametrize("way", WAYS)
def test_stores_requiring_equal_parts_complete_files(
    proxy: Proxy, open_session: OpenSession, uploads_settings: Callable[..., None], way: str
) -> None:
    uploads_settings(PART_SIZE=5 * MIB)
    proxy.store = ForeignStore(equal_sizes=True, refuses_unlisted=True)
    open_session(TOTAL)
    for number in (1, 2, 3):
        send(way, number, DATA)
    assert complete(way).state == State.COMPLETED
    assert content() == DATA


@pytest.mark.parametrize(
    ("action", "dirty"),
    [
        pytest.param(of_a_proxy(503), [0], id="of-a-proxy"),
        pytest.param(of_a_proxy(524), [0], id="timeout-of-a-proxy"),
        pytest.param(refuse, [], id="refused"),
        pytest.param(with_code(403, "AccessDenied"), [], id="forbidden"),
        pytest.param(lose_answer, [0], id="unknown"),
    ],
)
@pytest.mark.parametrize("way", ["atomic", "numbered"])
def test_only_parts_of_unknown_outcome_are_dirty(
    proxy: Proxy,
    open_session: OpenSession,
    uploads_settings: Callable[..., None],
    action: Action,
    dirty: list[int],
    way: str,
) -> None:
    uploads_settings(PART_SIZE=10 * MIB)
    open_session(TOTAL)
    proxy.inject("UploadPart", action)
    with pytest.raises(StoreUnavailable):
        send(way, 1, DATA)
    session = row()
    assert (session.numbered_chunks.get() if way == "numbered" else session).dirty_parts == dirty
    send(way, 1, DATA)
    assert session.fragments.count() == len(dirty)
    assert session.parts.count() == 1 - len(dirty)
