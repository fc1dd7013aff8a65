from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from tests.helpers import chunk_of
from uploads import sessions
from uploads.models import State, UploadSession
from uploads.owners import key_of

OpenSession = Callable[..., UploadSession]
LIST = "/admin/upload_sessions/uploadsession/"

pytestmark = pytest.mark.usefixtures("file_store", "small_chunks")


@pytest.fixture
def half(open_session: OpenSession) -> UploadSession:
    return sessions.receive(open_session(8, name="half.bin"), chunk_of(b"abcd"))


def run(client: Client, action: str, *rows: UploadSession) -> str:
    response = client.post(LIST, {"action": action, "_selected_action": [row.pk for row in rows]}, follow=True)
    return response.content.decode()


def test_list_shows_progress(admin_client: Client, half: UploadSession) -> None:
    page = admin_client.get(LIST).content.decode()
    assert "half.bin" in page
    assert 'value="0.5000"' in page
    assert "50 % of" in page


@pytest.mark.parametrize("count", [1, 30])
def test_list_needs_as_many_queries_for_many_sessions_as_for_one(
    admin_client: Client, open_session: OpenSession, django_assert_num_queries: Any, count: int
) -> None:
    for _ in range(count):
        open_session()
    with django_assert_num_queries(8):
        admin_client.get(LIST)


@pytest.mark.parametrize("term", ["half", "{id.hex}", "{id}", "{folder_id}"])
def test_search(admin_client: Client, half: UploadSession, term: str) -> None:
    page = admin_client.get(LIST, {"q": term.format_map(vars(half))}).content.decode()
    assert "half.bin" in page
    for other in ("0" * 32, "-" + "0" * 31, "a name of thirty-two characters."):
        response = admin_client.get(LIST, {"q": other})
        assert response.status_code == 200
        assert "half.bin" not in response.content.decode()


def test_detail_shows_the_parts_and_edits_nothing(admin_client: Client, half: UploadSession) -> None:
    page = admin_client.get(reverse("admin:upload_sessions_uploadsession_change", args=[half.pk])).content.decode()
    assert half.object_name in page
    assert f"{half.parts.get().crc32:08x}" in page
    assert 'name="file_name"' not in page
    assert admin_client.get(f"{LIST}add/").status_code == 403


@pytest.mark.parametrize(("action", "state"), [("abort", State.ABORTED), ("expire_now", State.EXPIRED)])
def test_actions_end_sessions(admin_client: Client, half: UploadSession, action: str, state: State) -> None:
    assert "1 upload session was changed" in run(admin_client, action, half)
    half.refresh_from_db()
    assert half.state == state
    assert half.storage_released
    assert str(half) in LogEntry.objects.get().object_repr
    move = half.moves.get()
    assert (move.before, move.after, move.who) == (State.OPEN, state, key_of(User.objects.get(username="admin")))
    page = admin_client.get(reverse("admin:upload_sessions_uploadsession_change", args=[half.pk])).content.decode()
    assert move.why in page


def test_an_action_says_what_it_could_not_do(admin_client: Client, open_session: OpenSession) -> None:
    done = sessions.receive(open_session(1, name="done.bin"), chunk_of(b"a"))
    page = run(admin_client, "abort", done)
    assert "done.bin" in page
    assert "accepts no more chunks" in page


def test_actions_need_their_own_permission(client: Client, half: UploadSession) -> None:
    viewer = User.objects.create_user("viewer", password="viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_uploadsession"))
    client.force_login(viewer)
    assert "half.bin" in client.get(LIST).content.decode()
    run(client, "abort", half)
    half.refresh_from_db()
    assert half.state == State.OPEN

    viewer.user_permissions.add(Permission.objects.get(codename="end_uploadsession"))
    run(client, "abort", half)
    half.refresh_from_db()
    assert half.state == State.ABORTED
