"""Play the model of the geometry against stores that delay, lose and refuse calls."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.geometry import Numbered, Refused, Session, Store, Unknown

OUTCOMES = st.lists(st.sampled_from(["ok"] * 5 + ["answer lost", "late", "never"]), min_size=30, max_size=30)


class Uploads(RuleBasedStateMachine):
    """One session of ordered chunks.

    The client repeats failed requests, with the same or with other bytes.
    """

    @initialize(
        size=st.integers(0, 40),
        part=st.integers(1, 7),
        names_writes=st.booleans(),
        refuses_unlisted=st.booleans(),
        lists=st.booleans(),
    )
    def begin(self, size: int, part: int, **kind: Any) -> None:
        self.session = Session(Store(**kind), size, part)
        self.acknowledged = b""

    @property
    def is_open(self) -> bool:
        return self.session.store.content is None

    @precondition(lambda self: self.is_open and len(self.acknowledged) < self.session.size)
    @rule(data=st.binary(min_size=1, max_size=15), outcomes=OUTCOMES, dies=st.sampled_from([False] * 4 + [True]))
    def send(self, data: bytes, outcomes: list[str], *, dies: bool) -> None:
        try:
            self.session.append(data, iter(outcomes), dies=dies)
        except Unknown:
            return
        self.acknowledged += data[: self.session.size - len(self.acknowledged)]

    @rule(data=st.data())
    def straggler_arrives(self, data: Any) -> None:
        late = self.session.store.late
        if late:
            self.session.store.arrive(late.pop(data.draw(st.integers(0, len(late) - 1))))

    @precondition(lambda self: self.is_open and len(self.acknowledged) == self.session.size)
    @rule(outcomes=OUTCOMES, dies=st.booleans())
    def complete(self, outcomes: list[str], *, dies: bool) -> None:
        try:
            self.session.complete(iter(outcomes), dies=dies)
        except (Unknown, Refused):
            return
        assert self.session.store.content == self.acknowledged

    @invariant()
    def nothing_acknowledged_goes_back(self) -> None:
        assert self.session.stored == len(self.acknowledged)

    def teardown(self) -> None:
        """Stop all failures; the file then completes with the acknowledged bytes."""
        if not hasattr(self, "session") or not self.is_open:
            return
        rest = self.session.size - len(self.acknowledged)
        data = bytes(range(rest))
        self.session.append(data, iter(["ok"] * 50), dies=False)
        for call in self.session.store.late:
            self.session.store.arrive(call)
        for attempt in range(3):
            try:
                self.session.complete(iter(["ok"] * 50))
            except Refused:
                assert attempt < 2
            else:
                break
        assert self.session.store.content == self.acknowledged + data


def test_stragglers_never_corrupt_a_file() -> None:
    run_state_machine_as_test(
        Uploads, settings=settings(stateful_step_count=30, max_examples=20 * settings().max_examples)
    )


class NumberedUploads(RuleBasedStateMachine):
    """Numbered chunks in any order, sent concurrently.

    A number may be sent again with other bytes; its last commit counts.
    """

    @initialize(chunk=st.integers(1, 9), count=st.integers(1, 3), part=st.integers(1, 4), names_writes=st.booleans())
    def begin(self, chunk: int, count: int, part: int, *, names_writes: bool) -> None:
        size = max(1, chunk * count - chunk // 2)
        self.chunks = Numbered(Session(Store(names_writes=names_writes), size, part), chunk)
        self.last: dict[int, bytes] = {}
        self.finalizing = False

    @property
    def count(self) -> int:
        return -(-self.chunks.session.size // self.chunks.chunk)

    def data_of(self, number: int, fill: int) -> bytes:
        return bytes([fill]) * min(self.chunks.chunk, self.chunks.session.size - (number - 1) * self.chunks.chunk)

    @precondition(lambda self: not self.finalizing)
    @rule(data=st.data(), fill=st.integers(0, 3))
    def attempt(self, data: Any, fill: int) -> None:
        number = data.draw(st.integers(1, self.count))
        self.chunks.begin(number, self.data_of(number, fill))

    @precondition(lambda self: self.chunks.attempts)
    @rule(data=st.data(), outcomes=st.lists(st.sampled_from(["ok", "late", "ok", "answer lost", "ok"]), max_size=9))
    def go_on(self, data: Any, outcomes: list[str]) -> None:
        """Advance an attempt by some steps.

        An attempt without remaining steps commits; one that fails or dies is given up.
        """
        attempt = data.draw(st.sampled_from(self.chunks.attempts))
        try:
            for outcome in outcomes:
                if attempt.todo:
                    self.chunks.step(attempt, outcome)
        except Unknown:
            self.chunks.give_up(attempt)
            return
        if not outcomes:
            self.chunks.give_up(attempt)
        elif not attempt.todo and not self.finalizing:  # A completing session accepts no more commits.
            self.chunks.commit(attempt)
            self.last[attempt.number] = attempt.data

    @rule(data=st.data())
    def straggler_arrives(self, data: Any) -> None:
        late = self.chunks.session.store.late
        if late:
            self.chunks.session.store.arrive(late.pop(data.draw(st.integers(0, len(late) - 1))))

    @precondition(lambda self: len(self.last) == self.count)
    @rule(outcomes=OUTCOMES)
    def finalize(self, outcomes: list[str]) -> None:
        self.finalizing = True
        if self.chunks.session.store.content is None:
            with suppress(Unknown, Refused):
                self.chunks.finalize(iter(outcomes))
        content = self.chunks.session.store.content
        assert content in (None, b"".join(self.last[number] for number in sorted(self.last)))

    def teardown(self) -> None:
        """Stop all failures; the file then completes, even if open attempts never return."""
        if not hasattr(self, "chunks"):
            return
        session = self.chunks.session
        for number in {*range(1, self.count + 1)} - self.last.keys():
            attempt = self.chunks.begin(number, self.data_of(number, 9))
            assert attempt is not None
            while attempt.todo:
                self.chunks.step(attempt, "ok")
            self.chunks.commit(attempt)
            self.last[number] = attempt.data
        for call in session.store.late:
            session.store.arrive(call)
        for tries in range(4):
            if session.store.content is not None:
                break
            assert tries < 3
            with suppress(Refused):
                self.chunks.finalize(iter(["ok"] * 50))
        assert session.store.content == b"".join(self.last[number] for number in sorted(self.last))


def test_concurrent_numbered_chunks_never_mix() -> None:
    examples = 20 * settings().max_examples
    run_state_machine_as_test(NumberedUploads, settings=settings(stateful_step_count=40, max_examples=examples))
