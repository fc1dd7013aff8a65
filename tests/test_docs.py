"""The tables in the documentation match the code."""

from __future__ import annotations

import ast
import re

import pytest

from docs import tables
from uploads._internal import conf
from uploads.models import State


@pytest.mark.parametrize("page", tables.TABLES)
def test_tables_are_up_to_date(page: str) -> None:
    text = (tables.DOCS / page).read_text()
    assert tables.MARK.format(name=tables.TABLES[page][0]) in text
    assert text == tables.renewed(page), "run make docs"


def test_settings_of_stores_are_valid() -> None:
    page = (tables.DOCS / "stores.md").read_text()
    pasted = [ast.literal_eval(text) for text in re.findall(r"`(\{.*?\})`", page)]
    assert len(pasted) > 8
    assert all(conf.is_capabilities({"default": known}) for known in pasted)


def test_operations_explain_every_state_and_capability() -> None:
    page = (tables.DOCS / "operations.md").read_text()
    names = [*State.values, *conf.CAPABILITIES]
    assert [name for name in names if f"`{name}`" not in page] == []
