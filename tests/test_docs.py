"""The tables in the documentation are those of the code."""

from __future__ import annotations

import pytest

from docs import tables


@pytest.mark.parametrize("page", tables.TABLES)
def test_tables_are_up_to_date(page: str) -> None:
    text = (tables.DOCS / page).read_text()
    assert tables.MARK.format(name=tables.TABLES[page][0]) in text
    assert text == tables.renewed(page), "run make docs"
