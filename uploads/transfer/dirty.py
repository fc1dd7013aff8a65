"""Parts that a writer of unknown outcome may still write to: bytes that fall into them are kept as fragments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


def _nothing(index: int) -> None:
    return


class DirtyParts:
    """What one request knows of such parts, by their indexes in the file: those of others, and its own."""

    def __init__(self, others: Iterable[int] = (), note: Callable[[int], None] = _nothing) -> None:
        """Begin with those of ``others``; ``note`` is called before the first write to a part that is not expected."""
        self.others = frozenset(others)
        self._note = note
        self._expected: Sequence[int] = ()
        self._unclear: set[int] = set()

    def expect(self, indexes: Sequence[int]) -> list[int]:
        """Expect writes to these parts; return all that are to be noted on the row."""
        self._expected = indexes
        return sorted({*self.left(), *indexes})

    def begin(self, index: int) -> None:
        """Note, where the row does not say so yet, that the part is going to be written."""
        if index not in self._expected:
            self._note(index)
        self._unclear.add(index)

    def settle(self, index: int) -> None:
        """The write has ended, and none of its attempts can arrive later."""
        self._unclear.discard(index)

    def commit(self, indexes: Iterable[int]) -> None:
        """Parts are stored: an attempt that arrives later has the same bytes."""
        self._unclear.difference_update(indexes)

    def left(self) -> list[int]:
        """Return the parts that somebody may still write to once this request has ended."""
        return sorted(self.others | self._unclear)
