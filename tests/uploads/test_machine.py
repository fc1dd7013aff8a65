"""Play random requests against a model of a session.

The row always reports what is stored, and a refused request changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from portal.models import File, Folder
from tests.helpers import Chunk, finalize
from uploads._internal import sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.protocols.onlyoffice import conf
from uploads._internal.stores import get_store
from uploads._internal.stores.base import Store
from uploads._internal.transfer.targets import uploads_of
from uploads.exceptions import UploadError
from uploads.models import Mode, State, UploadSession

PART, MINIMUM = 8, 4
"""Sizes in bytes, so small that a few chunks produce parts, remainders and fragments."""
DATA = st.binary(min_size=1, max_size=3 * PART) | st.just(b"")
SELDOM = st.integers(0, 5).map(lambda number: number == 5)
AROUND = st.integers(0, 2)
"""Bytes of a request body outside the chunk, such as a form's boundaries."""


@dataclass
class Model:
    """The expected state of a session."""

    size: int
    chunk: int = 1
    """Size of most numbered chunks, in bytes."""
    state: State = State.OPEN
    sent: bytes = b""
    numbered: dict[int, bytes] = field(default_factory=dict)

    @property
    def stored(self) -> int:
        return len(self.sent) + sum(map(len, self.numbered.values()))

    @property
    def content(self) -> bytes:
        return self.sent + b"".join(self.numbered[number] for number in sorted(self.numbered))


class Sessions(RuleBasedStateMachine):
    """Sessions of one user, each paired with its model."""

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic._from_testcase = True  # type: ignore[attr-defined]
        self.atomic.__enter__()
        self.models: dict[Any, Model] = {}

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize()
    def portal(self) -> None:
        self.user = User.objects.create_user("machine")
        self.folder = Folder.objects.create(owner=self.user, title="Machine")

    @rule(size=st.integers(0, 9 * PART), chunk=st.integers(1, 3 * PART))
    def create(self, size: int, chunk: int) -> None:
        file = sessions.FileRequest(name=f"{len(self.models)}.bin", size=size, rules=conf.current().rules)
        self.models[sessions.create(self.user, str(self.folder.pk), file).pk] = Model(size, chunk)

    @rule(data=st.data(), body=DATA, cut=SELDOM)
    def send(self, data: Any, body: bytes, cut: bool) -> None:
        session, model = self._one(data)
        body = body if data.draw(SELDOM) else body[: model.size - model.stored]
        chunk = Chunk(blocks(body, cut), at_most=len(body) + data.draw(AROUND))
        if self._try(lambda: sessions.receive(session, chunk)):
            if model.state == State.OPEN:
                model.sent += body
            if len(model.sent) == model.size:
                model.state = State.COMPLETED

    @rule(data=st.data(), body=DATA, number=st.integers(0, 6), cut=SELDOM)
    def send_numbered(self, data: Any, body: bytes, number: int, cut: bool) -> None:
        session, model = self._one(data)
        if not data.draw(SELDOM):
            body = bytes([number]) * min(model.chunk, max(0, model.size - (number - 1) * model.chunk))
        at_most = len(body) + data.draw(AROUND) if data.draw(st.booleans()) else None
        chunk = Chunk(blocks(body, cut), at_most=at_most, size=data.draw(st.sampled_from([None, len(body)])))
        if self._try(lambda: sessions.receive_numbered(session, chunk, number)):
            model.numbered[number] = body

    @rule(data=st.data())
    def finalize(self, data: Any) -> None:
        session, model = self._one(data)
        if self._try(lambda: finalize(session)):
            assert model.stored == model.size
            assert sorted(model.numbered) == list(range(1, len(model.numbered) + 1))
            model.state = State.COMPLETED

    @rule(data=st.data(), really=SELDOM)
    def abort(self, data: Any, really: bool) -> None:
        if not really:
            return
        session, model = self._one(data)
        if self._try(lambda: sessions.abort(session)):
            model.state = State.ABORTED

    @rule(data=st.data(), really=SELDOM)
    def expire(self, data: Any, really: bool) -> None:
        if not really:
            return
        session, model = self._one(data)
        UploadSession.objects.filter(pk=session.pk).update(expires_at="2020-01-01T00:00Z")
        sessions.expire_stale(batch_size=10)
        if model.state == State.OPEN:
            model.state = State.EXPIRED

    @invariant()
    def the_row_tells_what_is_stored(self) -> None:
        store = get_store("default")
        for session in UploadSession.objects.filter(pk__in=self.models):
            model = self.models[session.pk]
            assert (session.state, session.bytes_stored) == (model.state, model.stored)
            assert session.lease_until is None
            if model.state == State.OPEN:
                assert sum(row.size for row in sessions.stored_of(session)) == model.stored
            assert all(
                (store.upload_size(upload) is None) == (model.state != State.OPEN) for upload in uploads_of(session)
            )
            if model.state == State.COMPLETED:
                assert b"".join(store.read(session.object_name)) == model.content
            elif model.state != State.OPEN:
                assert not session.parts.exists()
                assert not session.fragments.exists()
                assert store.stat(session.object_name) is None
            if model.numbered:
                assert session.mode == Mode.NUMBERED
        completed = [model for model in self.models.values() if model.state == State.COMPLETED]
        assert File.objects.filter(folder=self.folder).count() == len(completed)

    def _one(self, data: Any) -> tuple[UploadSession, Model]:
        if not self.models:
            self.create(data.draw(st.integers(0, 9 * PART)), data.draw(st.integers(1, 3 * PART)))
        key = data.draw(st.sampled_from(list(self.models)[-3:]))
        return UploadSession.objects.get(pk=key), self.models[key]

    def _try(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except UploadError:
            return False
        return True


def blocks(body: bytes, cut: bool) -> Iterator[bytes]:
    yield from (body[start : start + 3] for start in range(0, len(body), 3))
    if cut:
        raise IncompleteBody(received=len(body), declared="more")


@pytest.mark.parametrize("kind", ["numbers-parts", "writes-anywhere"])
@pytest.mark.django_db
def test_rows_match_the_model(
    file_store: Store,
    small_chunks: None,
    uploads_settings: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    uploads_settings(PART_SIZE=PART)
    if kind == "numbers-parts":
        for name, value in (("writes_anywhere", False), ("limits_parts", True), ("min_part_size", MINIMUM)):
            monkeypatch.setattr(type(file_store), name, value)
    run_state_machine_as_test(Sessions, settings=settings(stateful_step_count=40))
