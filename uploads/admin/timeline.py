"""A map of a session's stored bytes and a curve of its upload rate."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Max
from django.template.defaultfilters import filesizeformat

from uploads.admin.cells import MAX_COUNTED_ROWS
from uploads.models import UploadSession

MAX_MAP_CELLS = 240
"""Number of cells of the map of the parts and of the rate curve."""
CURVE_FROM = 8
"""Minimum number of parts for a meaningful curve."""


@dataclass(frozen=True)
class Drawing:
    """The drawing on a session's page: positions of stored bytes and the upload rate."""

    cells: list[tuple[int, int, float]]
    """Position, width and share of each run of map cells that have bytes."""
    curve: str
    """Points of a line; empty if there are too few parts.

    x goes from 0 to MAX_MAP_CELLS, y from 0 (the fastest) to 40."""
    quickest: str
    width: int = MAX_MAP_CELLS


def drawn(session: UploadSession) -> Drawing | None:
    """Return the drawing; None for a session without bytes or with too many parts."""
    rows = list(session.parts.values_list("offset", "size", "created_at")[:MAX_COUNTED_ROWS])
    fragments = session.fragments.values_list("chunk", "offset", "size", "created_at")[:MAX_COUNTED_ROWS]
    # All chunks but the last have one size, and the last is not larger.
    chunk_size = session.chunk_size or session.numbered_chunks.aggregate(size=Max("size", default=0))["size"]
    for chunk, offset, size, at in fragments:
        rows.append((offset + max(0, chunk - 1) * chunk_size, size, at))
    if not rows or len(rows) >= MAX_COUNTED_ROWS or not session.file_size:
        return None
    rows.sort(key=lambda row: row[2])
    cells: dict[int, float] = {}
    for offset, size, _at in rows:
        first, last = offset * MAX_MAP_CELLS / session.file_size, (offset + size) * MAX_MAP_CELLS / session.file_size
        for cell in range(int(first), min(MAX_MAP_CELLS, int(last) + 1)):
            cells[cell] = min(1.0, cells.get(cell, 0.0) + min(last, cell + 1) - max(first, cell))
    began, seconds = session.created_at, max(1.0, (rows[-1][2] - session.created_at).total_seconds())
    steps = [0] * (min(60, len(rows)) + 1)
    for _offset, size, at in rows:
        share = max(0.0, (at - began).total_seconds()) / seconds
        steps[min(len(steps) - 1, int(share * (len(steps) - 1)))] += size
    most = max(steps)
    points = (f"{x * MAX_MAP_CELLS / (len(steps) - 1):.1f},{40 - 40 * size / most:.1f}" for x, size in enumerate(steps))
    quickest = f"{filesizeformat(most * (len(steps) - 1) / seconds)}/s"
    return Drawing(_runs(cells), " ".join(points) if len(rows) >= CURVE_FROM else "", quickest)


def _runs(cells: dict[int, float]) -> list[tuple[int, int, float]]:
    runs: list[tuple[int, int, float]] = []
    for cell, exactly in sorted(cells.items()):
        share = round(exactly, 2)
        if runs and runs[-1][0] + runs[-1][1] == cell and runs[-1][2] == share:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1, share)
        else:
            runs.append((cell, 1, share))
    return runs
