"""Generate documentation tables from code: ``make docs`` writes them, a test compares them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import django

from uploads import exceptions
from uploads._internal import conf

DOCS = Path(__file__).parent
MARK = "<!-- {name}: written by make docs -->\n"


def settings_table() -> str:
    rows = [
        f"| `{field.name}` | {_shown(field.metadata['default'])} | {field.metadata['unit']} | {field.metadata['text']} "
        f"| {field.metadata['check']} |"
        for field in conf.fields()
    ]
    return "\n".join(["| name | default | unit | | check |", "|---|---|---|---|---|", *rows])


def errors_table() -> str:
    for protocol in ("onlyoffice", "tus", "uppy"):
        import_module(f"uploads.urls.{protocol}")  # their packages define errors of their own
    errors = sorted(set(_errors(exceptions.UploadError)), key=lambda error: (error.status, error.code, error.text))
    rows = {f"| `{error.code}` | {error.status} | {error.text} |": None for error in errors}
    return "\n".join(["| type | status | message |", "|---|---|---|", *rows])


def _errors(base: type[exceptions.UploadError]) -> Iterator[type[exceptions.UploadError]]:
    """Yield the errors of the app; a portal's own are not in the table."""
    for error in base.__subclasses__():
        if error.__module__.startswith("uploads."):
            if error.code != exceptions.UploadError.code:
                yield error
            yield from _errors(error)


def states_picture() -> str:
    """Return the state transitions of the code as a Mermaid diagram."""
    from uploads._internal.sessions.states import MOVES

    moves = [f"    {before.value} --> {after.value}: {why}" for (before, after), why in MOVES.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> open", *moves, "```"])


def destination_reference() -> str:
    """Return every method of ``Destination`` with its docstring."""
    from uploads.destinations import Destination

    found = [(name, value) for name, value in vars(Destination).items() if not name.startswith("_") and callable(value)]
    return "\n".join(f"### {name}\n\n`{_signature(value)}`\n\n{_prose(value)}\n" for name, value in found)


def signals_table() -> str:
    from uploads import signals

    source = inspect.getsource(signals)
    payload = dict(re.findall(r'^(\w+) = Signal\(\)\n(?:"""(.*?)""")?', source, re.MULTILINE | re.DOTALL))
    return "\n".join(
        ["| signal | |", "|---|---|", *(f"| `{name}` | {_line(text)} |" for name, text in payload.items())]
    )


def _signature(function: object) -> str:
    return str(inspect.signature(function)).replace("self, ", "").replace("'", "").replace("(self)", "()")  # type: ignore[arg-type]


def _prose(value: object) -> str:
    text = inspect.getdoc(value) or ""
    return text.replace("``", "`")


def _line(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def advice_table() -> str:
    """Return what the admin says about each state and each code of a failure."""
    from uploads.admin.advice import ADVICE

    rows = [f"| `{case}` | {advice.text} | {', '.join(advice.actions) or 'none'} |" for case, advice in ADVICE.items()]
    return "\n".join(["| state, or code of a failure | what to do | actions that can help |", "|---|---|---|", *rows])


TABLES = {
    "operations.md": ("advice", advice_table),
    "reference/settings.md": ("settings", settings_table),
    "reference/errors.md": ("errors", errors_table),
    "design.md": ("states", states_picture),
    "reference/destination.md": ("destination", destination_reference),
    "reference/signals.md": ("signals", signals_table),
}


def renewed(page: str) -> str:
    """Return the text of a page with its table regenerated from the code."""
    name, table = TABLES[page]
    mark = MARK.format(name=name)
    pattern = re.compile(re.escape(mark) + r"((\|.*\n)*(```mermaid\n[^`]*```\n)?(?!###)|(###.*\n(?:.*\n)*))")
    return pattern.sub(lambda _: f"{mark}{table()}\n", (DOCS / page).read_text())


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value.days} days" if value.days else f"`{value}`"
    if isinstance(value, int) and value >= 2**20:
        return f"{value // 2**20} MiB"
    return f"`{value!r}`"


if __name__ == "__main__":
    django.setup()  # so that the protocols register their settings
    for name in TABLES:
        (DOCS / name).write_text(renewed(name))
