"""The tables in the documentation are those of the code."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from uploads import conf, exceptions

DOCS = Path(__file__).resolve().parents[1] / "docs"
ERRORS = [
    error
    for error in vars(exceptions).values()
    if isinstance(error, type) and issubclass(error, exceptions.UploadError) and error is not exceptions.UploadError
]


@pytest.mark.parametrize("field", dataclasses.fields(conf.Settings), ids=lambda field: field.name)
def test_every_setting_is_in_the_table(field: dataclasses.Field[object]) -> None:
    rows = (DOCS / "settings.md").read_text().splitlines()
    (row,) = [row for row in rows if row.startswith(f"| `{field.name}` |")]
    about = field.metadata
    assert row.endswith(f"| {about['unit']} | {about['text']} | {about['check']} |")


def test_every_row_of_the_settings_is_one() -> None:
    rows = [row for row in (DOCS / "settings.md").read_text().splitlines() if row.startswith("| `")]
    assert len(rows) == len(dataclasses.fields(conf.Settings))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_is_in_the_table(error: type[exceptions.UploadError]) -> None:
    assert f"| `{error.code}` | {error.status} |" in (DOCS / "api.md").read_text()
