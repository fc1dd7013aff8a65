"""Parts that a write of unknown outcome may still reach.

Bytes that fall into them are kept as fragments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence


def _always(index: int) -> bool:
    return True


class DirtyParts:
    """The dirty parts that one request knows, by index in the file."""

    def __init__(self, others: Iterable[int] = (), note: Callable[[int], bool] = _always) -> None:
        """Begin with the dirty parts of ``others``; the request's own are added later.

        ``note`` records a write on the row and returns whether it is allowed.
        """
        self.others = frozenset(others)
        self._note = note
        self._expected: Sequence[int] = ()
        self._unclear: set[int] = set()

    def expect(self, indexes: Sequence[int]) -> list[int]:
        """Expect writes to these parts; return all parts to be recorded on the row."""
        self._expected = indexes
        return sorted({*self.left(), *indexes})

    def claim(self, index: int) -> bool:
        """Return whether this request may write the part; the row records it then.

        Otherwise, the bytes become a fragment.
        """
        return index not in self.others and (index in self._expected or self._note(index))

    def begin(self, index: int) -> None:
        """Mark the part as being written."""
        self._unclear.add(index)

    def settle(self, index: int) -> None:
        """Mark the write as ended: none of its attempts can arrive later."""
        self._unclear.discard(index)

    def commit(self, indexes: Iterable[int]) -> None:
        """Mark the rows of these parts as committed: a late attempt has the same bytes."""
        self._unclear.difference_update(indexes)

    def left(self, *, but: Iterable[int] = ()) -> list[int]:
        """Return the parts that stay dirty after this request, with the parts ``but`` stored."""
        return sorted(self.others | self._unclear.difference(but))
