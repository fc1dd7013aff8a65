"""The history of a session in the admin counts its refused requests."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from tests.helpers import Uploader
from uploads._internal.sessions.states import MAX_REFUSALS, MAX_TEXT, note_refusal
from uploads.models import UploadSession

pytestmark = pytest.mark.usefixtures("file_store", "small_chunks")


@pytest.fixture
def half(uploader: Uploader) -> dict[str, Any]:
    """Return a session whose next chunk begins at byte 4 of 8."""
    session: dict[str, Any] = uploader.create(8)
    assert uploader.send(session, b"abcd").status_code == 200
    return session


@pytest.fixture
def events(admin_client: Client, half: dict[str, Any]) -> Callable[[], list[tuple[str, ...]]]:
    """Return a function that reads state, reason and user of each line of the history after the first."""

    def read() -> list[tuple[str, ...]]:
        page = admin_client.get(reverse("admin:upload_sessions_uploadsession_change", args=[half["id"]]))
        row = r'<td>([^<]*)</td><td class="upload-reason">([^<]*)</td><td>([^<]*)</td></tr>'
        return re.findall(row, html.unescape(page.content.decode()))[1:]

    return read


def send_at(uploader: Uploader, session: dict[str, Any], offset: int, data: bytes = b"efgh") -> Any:
    span = f"bytes {offset}-{offset + len(data) - 1}/8"
    return uploader.send_raw(session, data, headers={"Content-Range": span})


def test_history_counts_repeated_refusals(
    uploader: Uploader, half: dict[str, Any], events: Callable[[], list[tuple[str, ...]]]
) -> None:
    mismatch = "The chunk starts at byte {}, but 4 bytes are stored: continue at 4."
    assert send_at(uploader, half, 5, b"f").status_code == 409
    assert events() == [("refused", f"{mismatch.format(5)} (offset_mismatch)", "demo")]
    for _ in range(3):
        send_at(uploader, half, 6, b"g")
    uploader.send(half, b"")
    assert send_at(uploader, half, 4).status_code == 201
    repeated, empty, *moves = events()
    assert repeated[1].startswith(f"{mismatch.format(6)} (offset_mismatch, 4 times, last: ")
    assert empty == ("refused", "The chunk is empty. (empty_chunk)", "demo")
    assert [state for state, _, _ in moves] == ["completing", "completed"]


def test_requests_of_other_users_leave_no_history(
    half: dict[str, Any], other_user: User, events: Callable[[], list[tuple[str, ...]]]
) -> None:
    stranger = APIClient()
    stranger.force_authenticate(other_user)
    assert Uploader(stranger, "@my").send(half, b"efgh").status_code == 404
    assert events() == []


def test_refusal_is_sent_without_history(
    uploader: Uploader, half: dict[str, Any], events: Callable[[], list[tuple[str, ...]]]
) -> None:
    def lose(execute: Any, sql: str, *args: Any) -> Any:
        if "upload_sessions_refusal" in sql:
            raise OperationalError
        return execute(sql, *args)

    with connection.execute_wrapper(lose):
        answer = send_at(uploader, half, 5, b"f")
    assert answer.status_code == 409
    assert "continue at 4" in answer.content.decode()
    assert events() == []


def test_history_of_refusals_is_bounded(half: dict[str, Any]) -> None:
    session = UploadSession.objects.get(pk=half["id"])
    for number in range(MAX_REFUSALS + 5):
        note_refusal(session, f"code_{number}", "long" * MAX_TEXT, "")
    note_refusal(session, "code_1", "short", "")
    refusals = list(session.refusals.order_by("pk"))
    assert len(refusals) == MAX_REFUSALS
    assert [refusal.times for refusal in refusals[:3]] == [1, 2, 1]
    assert all(len(refusal.text) <= MAX_TEXT for refusal in refusals)
