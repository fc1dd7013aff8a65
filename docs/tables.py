"""The tables of the documentation that come from the code: ``make docs`` writes them, a test compares them."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import django

from uploads import conf, exceptions

DOCS = Path(__file__).parent
MARK = "<!-- {name}: written by make docs -->\n"


def settings_table() -> str:
    rows = [
        f"| `{field.name}` | {_shown(field.default)} | {field.metadata['unit']} | {field.metadata['text']} "
        f"| {field.metadata['check']} |"
        for field in conf.fields()
    ]
    return "\n".join(["| name | default | unit | | check |", "|---|---|---|---|---|", *rows])


def errors_table() -> str:
    errors = [
        error
        for error in vars(exceptions).values()
        if isinstance(error, type) and issubclass(error, exceptions.UploadError) and error is not exceptions.UploadError
    ]
    rows = {f"| `{error.code}` | {error.status} | {error.text} |": None for error in errors}
    return "\n".join(["| type | status | message |", "|---|---|---|", *rows])


def states_picture() -> str:
    """Return the moves of the code as a picture (Mermaid)."""
    from uploads.sessions.states import MOVES

    moves = [f"    {before.value} --> {after.value}: {why}" for (before, after), why in MOVES.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> open", *moves, "```"])


TABLES = {
    "../README.md": ("settings", settings_table),
    "api.md": ("errors", errors_table),
    "design.md": ("states", states_picture),
}


def renewed(page: str) -> str:
    """Return the text of a page with its table as the code has it."""
    name, table = TABLES[page]
    mark = MARK.format(name=name)
    pattern = re.compile(re.escape(mark) + r"(\|.*\n)*(```mermaid\n[^`]*```\n)?")
    return pattern.sub(lambda _: f"{mark}{table()}\n", (DOCS / page).read_text())


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value.days} days" if value.days else f"`{value}`"
    if isinstance(value, int) and value >= 2**20:
        return f"{value // 2**20} MiB"
    return f"`{value!r}`"


if __name__ == "__main__":
    django.setup()  # so that the doors register their settings
    for name in TABLES:
        (DOCS / name).write_text(renewed(name))
