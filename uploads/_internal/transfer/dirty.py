"""Parts that a writer of unknown outcome may still write to: bytes that fall into them are kept as fragments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


def _always(index: int) -> bool:
    return True


class DirtyParts:
    """What one request knows of such parts, by their indexes in the file: those of others, and its own."""

    def __init__(self, others: Iterable[int] = (), note: Callable[[int], bool] = _always) -> None:
        """Begin with those of ``others``; ``note`` notes a write on the row, and tells whether it is allowed."""
        self.others = frozenset(others)
        self._note = note
        self._expected: Sequence[int] = ()
        self._unclear: set[int] = set()

    def expect(self, indexes: Sequence[int]) -> list[int]:
        """Expect writes to these parts; return all that are to be noted on the row."""
        self._expected = indexes
        return sorted({*self.left(), *indexes})

    def claim(self, index: int) -> bool:
        """Tell whether this request may write the part, which the row says then; else its bytes are a fragment."""
        return index not in self.others and (index in self._expected or self._note(index))

    def begin(self, index: int) -> None:
        """The part is being written."""
        self._unclear.add(index)

    def settle(self, index: int) -> None:
        """The write has ended, and none of its attempts can arrive later."""
        self._unclear.discard(index)

    def commit(self, indexes: Iterable[int]) -> None:
        """The rows of these parts are committed: an attempt that arrives later has the same bytes."""
        self._unclear.difference_update(indexes)

    def left(self, *, but: Iterable[int] = ()) -> list[int]:
        """Return the parts that somebody may still write to once this request has ended, with those ``but`` stored."""
        return sorted(self.others | self._unclear.difference(but))
