from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import path, reverse
from django.utils import timezone

from tests.data import MIB
from tests.helpers import Chunk, Uploader, chunk_of
from tests.uploads.test_end import multiply
from uploads._internal import sessions
from uploads._internal.owners import key_of
from uploads._internal.stores.base import Store
from uploads._internal.transfer.targets import upload_of
from uploads.admin.timeline import drawn
from uploads.exceptions import (
    CheckerUnavailable,
    FileUncheckable,
    FolderNotFound,
    NotAccepted,
    NotEncrypted,
    StoreUnavailable,
    TooManyAttempts,
    UploadGone,
)
from uploads.models import CheckResult, State, UploadSession

OpenSession = Callable[..., UploadSession]
LIST = "/admin/upload_sessions/uploadsession/"

pytestmark = pytest.mark.usefixtures("file_store", "small_chunks")


@pytest.fixture
def half(open_session: OpenSession) -> UploadSession:
    return sessions.receive(open_session(8, name="half.bin"), chunk_of(b"abcd"))


def run(client: Client, action: str, *rows: UploadSession, confirmed: bool = True, **payload: str) -> str:
    payload |= {"confirmed": "1"} if confirmed else {}
    response = client.post(
        LIST, {"action": action, "_selected_action": [row.pk for row in rows], **payload}, follow=True
    )
    return response.content.decode()


def page_of(session: UploadSession) -> str:
    return reverse("admin:upload_sessions_uploadsession_change", args=[session.pk])


def test_list_shows_progress(admin_client: Client, half: UploadSession) -> None:
    page = admin_client.get(LIST).content.decode()
    assert "half.bin" in page
    assert 'value="0.5000"' in page
    assert "50 % of" in page


backoffice = AdminSite("backoffice")
backoffice.register(UploadSession)
urlpatterns = [path("backoffice/", backoffice.urls)]


def test_another_admin_site_can_register_the_model(admin_client: Client, half: UploadSession, settings: Any) -> None:
    """A portal that registers every model gets Django's pages, not the app's own."""
    settings.ROOT_URLCONF = __name__
    for page in ("", f"{half.pk}/change/"):
        assert admin_client.get(f"/backoffice/upload_sessions/uploadsession/{page}").status_code == 200


def test_list_shows_extremely_slow_uploads(admin_client: Client, half: UploadSession) -> None:
    UploadSession.objects.update(file_size=2**45, created_at=timezone.now() - timedelta(days=300))
    assert "half.bin" in admin_client.get(LIST).content.decode()


@pytest.mark.parametrize("count", [1, 30])
def test_list_queries_are_constant(
    admin_client: Client, open_session: OpenSession, django_assert_num_queries: Any, count: int
) -> None:
    for _ in range(count):
        open_session()
    with django_assert_num_queries(10):
        admin_client.get(LIST)


@pytest.mark.parametrize(
    "term",
    ["half", "{id.hex}", "{id}", "{id.hex:.10}", "{id!s:.10}", "{folder_id}", "demo", "@Jane.example", "{owner_key}"],
)
def test_search_finds_names_and_identifiers(admin_client: Client, half: UploadSession, term: str) -> None:
    User.objects.filter(username="demo").update(email="demo@jane.example")
    page = admin_client.get(LIST, {"q": term.format_map(vars(half))}).content.decode()
    assert "half.bin" in page
    for other in ("0" * 32, "-" + "0" * 31, "a name of thirty-two characters."):
        response = admin_client.get(LIST, {"q": other})
        assert response.status_code == 200
        assert "half.bin" not in response.content.decode()


def test_detail_page_shows_parts_read_only(admin_client: Client, half: UploadSession) -> None:
    page = admin_client.get(reverse("admin:upload_sessions_uploadsession_change", args=[half.pk])).content.decode()
    assert half.object_name in page
    assert f"{half.parts.get().crc32:08x}" in page
    assert 'name="file_name"' not in page
    assert admin_client.get(f"{LIST}add/").status_code == 403


@pytest.mark.parametrize(
    ("action", "state", "logged"), [("abort", State.ABORTED, "Aborted."), ("expire", State.EXPIRED, "Expired.")]
)
def test_confirmed_actions_end_sessions(
    admin_client: Client, half: UploadSession, action: str, state: State, logged: str
) -> None:
    page = run(admin_client, action, half, confirmed=False)
    assert "half.bin" in page
    half.refresh_from_db()
    assert half.state == State.OPEN, "done without asking"
    assert "1 upload session was changed" in run(admin_client, action, half)
    half.refresh_from_db()
    assert half.state == state
    assert half.storage_released
    entry = LogEntry.objects.get()
    assert (entry.object_repr, entry.get_change_message()) == (str(half), logged)
    move = half.moves.get()
    assert (move.before, move.after, move.who) == (State.OPEN, state, key_of(User.objects.get(username="admin")))
    page = admin_client.get(page_of(half)).content.decode()
    assert move.why in page


def test_extend_action_postpones_expiry(admin_client: Client, half: UploadSession) -> None:
    before = timezone.now() + timedelta(seconds=5)
    UploadSession.objects.update(expires_at=before)
    run(admin_client, "extend", half)
    half.refresh_from_db()
    assert half.expires_at > before
    assert LogEntry.objects.get().get_change_message() == "Extended."


def test_release_action_requires_a_reason(admin_client: Client, open_session: OpenSession) -> None:
    session = sessions.receive(open_session(3, name="held.bin"), chunk_of(b"abc"))
    UploadSession.objects.update(state=State.FAILED, check_result=CheckResult.REFUSED, failure="Eicar")
    assert "Enter a reason" in run(admin_client, "release", session, reason=" ")
    session.refresh_from_db()
    assert session.state == State.FAILED
    run(admin_client, "release", session, reason="a false alarm")
    session.refresh_from_db()
    assert (session.state, session.check_result) == (State.COMPLETED, CheckResult.RELEASED)
    assert LogEntry.objects.get().get_change_message() == "Released: a false alarm"
    assert "a false alarm" in admin_client.get(page_of(session)).content.decode()


def test_action_reports_sessions_it_cannot_change(admin_client: Client, open_session: OpenSession) -> None:
    done = sessions.receive(open_session(1, name="done.bin"), chunk_of(b"a"))
    page = run(admin_client, "abort", done, confirmed=False)
    assert "not possible for" in page
    assert "done.bin" in page
    assert "the portal has the file" in run(admin_client, "abort", done)


@pytest.mark.parametrize("action", ["abort", "expire", "extend", "retry", "release"])
@pytest.mark.parametrize("state", ["completed", "checking"])
def test_actions_tolerate_sessions_that_have_changed(
    admin_client: Client, open_session: OpenSession, state: str, action: str
) -> None:
    session = sessions.receive(open_session(1), chunk_of(b"a"))
    UploadSession.objects.update(state=state)
    assert "upload session" in run(admin_client, action, session, reason="why")


def test_actions_work_with_atomic_requests(
    admin_client: Client, half: UploadSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    run(admin_client, "abort", half)
    half.refresh_from_db()
    assert half.state == State.ABORTED


def test_actions_limit_the_number_of_sessions(admin_client: Client, half: UploadSession) -> None:
    multiply(half, 300)
    ids = list(UploadSession.objects.values_list("pk", flat=True))
    response = admin_client.post(LIST, {"action": "abort", "_selected_action": ids}, follow=True)
    assert "at most 200" in response.content.decode()


@pytest.mark.parametrize("action", ["abort", "expire", "extend", "retry", "release"])
def test_each_action_needs_its_own_permission(client: Client, half: UploadSession, action: str) -> None:
    viewer = User.objects.create_user("viewer", password="viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_uploadsession"))
    others = Permission.objects.filter(codename__endswith="_uploadsession", content_type__app_label="upload_sessions")
    viewer.user_permissions.add(*others.exclude(codename=f"{action}_uploadsession"))
    client.force_login(viewer)
    assert "half.bin" in client.get(LIST).content.decode()
    assert f'value="{action}"' not in client.get(page_of(half)).content.decode()
    run(client, action, half, reason="none")
    assert not LogEntry.objects.exists()
    half.refresh_from_db()
    assert half.state == State.OPEN


def test_live_endpoint_updates_rows_and_honors_etags(
    admin_client: Client, half: UploadSession, django_assert_num_queries: Any
) -> None:
    url = f"{LIST}live/?ids={half.pk.hex},nonsense"
    with django_assert_num_queries(3):  # Two of them belong to the login.
        answer = admin_client.get(url)
    row = answer.json()[half.pk.hex]
    assert 'value="0.5000"' in row["progress"]
    assert row["live"] is True
    assert admin_client.get(url, headers={"If-None-Match": answer["ETag"]}).status_code == 304
    sessions.receive(half, chunk_of(b"efgh"))
    row = admin_client.get(url, headers={"If-None-Match": answer["ETag"]}).json()[half.pk.hex]
    assert "completed" in row["state_badge"]
    assert row["live"] is False


def test_live_endpoint_requires_view_permission(client: Client, half: UploadSession) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(f"{LIST}live/?ids={half.pk.hex}").status_code == 403


def test_store_comparison_runs_on_demand(admin_client: Client, open_session: OpenSession, store: Store) -> None:
    half = sessions.receive(open_session(12 * 2**20, name="half.bin"), chunk_of(bytes(6 * 2**20)))
    assert "Compare with the store" in admin_client.get(page_of(half)).content.decode()
    page = admin_client.get(f"{page_of(half)}?compare").content.decode()
    assert page.count("</th><td>6.0\xa0MB (6,291,456 bytes)</td>") == 2
    store.abort(upload_of(half))
    page = admin_client.get(f"{page_of(half)}?compare").content.decode()
    assert "the store no longer has this upload" in page


def test_detail_page_shows_user_and_client(
    admin_client: Client, uploader: Uploader, uploads_settings: Callable[..., None]
) -> None:
    uploader.api.credentials(HTTP_USER_AGENT="Sync/1.0 \xe4<b>")
    uploader.create(5)
    page = admin_client.get(page_of(UploadSession.objects.get())).content.decode()
    assert "127.0.0.1, Sync/1.0" in page
    assert "demo" in page
    assert "<b>" not in page
    uploads_settings(KEEP_CLIENTS=False)
    uploader.create(5)
    assert UploadSession.objects.filter(client={}).count() == 1


def list_of(client: Client, query: str = "") -> str:
    return client.get(f"{LIST}?{query}").content.decode()


def fail(session: UploadSession, failure: str = "", check_result: str = CheckResult.NONE) -> UploadSession:
    UploadSession.objects.filter(pk=session.pk).update(
        state=State.FAILED, bytes_stored=session.file_size, failure=failure, check_result=check_result
    )
    return session


def test_summary_figures_link_to_filtered_lists(
    admin_client: Client, half: UploadSession, open_session: OpenSession
) -> None:
    sessions.receive(open_session(1, name="done.bin"), chunk_of(b"a"))
    fail(open_session(1, name="broken.bin"))
    open_session(9, name="fresh.bin")
    UploadSession.objects.filter(pk=half.pk).update(updated_at=timezone.now() - timedelta(hours=1))
    figures = re.findall(r'<dt>([^<]+)</dt><dd><a href="\?([^"]+)">([^<]+)</a>', list_of(admin_client))
    listed = {}
    for name, query, count in figures:
        found = re.findall(r'class="upload-name" title="([^"]+)', list_of(admin_client, html.unescape(query)))
        listed[name] = sorted(found)
        assert count == str(len(found)) or name == "stored in open uploads"
    assert listed["open"] == listed["stored in open uploads"] == ["fresh.bin", "half.bin"]
    assert listed["stalled"] == ["half.bin"]
    assert listed["completed today"] == ["done.bin"]
    assert listed["failed today"] == ["broken.bin"]
    assert listed["being completed or checked"] == []


def test_live_endpoint_updates_summary_figures(admin_client: Client, half: UploadSession) -> None:
    url = f"{LIST}live/?ids={half.pk.hex}&figures"
    assert '<a href="?state=open">1</a>' in admin_client.get(url).json()["figures"]
    sessions.abort(half)
    assert '<a href="?state=open">0</a>' in admin_client.get(url).json()["figures"]


@pytest.mark.parametrize("value", ["{owner_key}", "{owner_id}"])
def test_list_filters_by_owner(
    admin_client: Client, half: UploadSession, other_user: User, open_session: OpenSession, value: str
) -> None:
    UploadSession.objects.filter(pk=open_session(name="foreign.bin").pk).update(owner_key=key_of(other_user))
    query = f"owner={value.format(owner_key=half.owner_key, owner_id=half.owner_id)}"
    page = list_of(admin_client, query)
    assert "half.bin" in page
    assert "foreign.bin" not in page
    assert "half.bin" not in list_of(admin_client, "owner=tests.robot:1")


def test_detail_page_links_to_user_if_permitted(admin_client: Client, client: Client, half: UploadSession) -> None:
    user_page = reverse("admin:auth_user_change", args=[half.owner_id])
    page = admin_client.get(page_of(half)).content.decode()
    assert f'href="{user_page}"' in page
    assert f"{LIST}?owner={quote(half.owner_key)}" in page
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_uploadsession"))
    client.force_login(viewer)
    page = client.get(page_of(half)).content.decode()
    assert "demo" in page
    assert user_page not in page


def test_list_shows_reasons_of_failures(admin_client: Client, half: UploadSession) -> None:
    fail(half, "The storage refused the request: no space")
    assert re.search(r'class="upload-why"[^>]*>The storage refused the request: no space<', list_of(admin_client))


RETRY, RELEASE = "retry", "release"


@pytest.mark.parametrize(
    ("failure", "check_result", "policy", "advice", "helpful"),
    [
        (str(StoreUnavailable()), "", "hold", "the store answers", {RETRY}),
        (str(TooManyAttempts(attempts=9)), "", "hold", "ended each attempt", {RETRY}),
        ("The portal could not take the file over.", "", "hold", "the portal&#x27;s code", {RETRY}),
        (str(NotAccepted("We have this file.")), "", "hold", "the failure names", {RETRY}),
        (str(FolderNotFound()), "", "hold", "Restore what is missing", {RETRY}),
        (str(UploadGone()), "", "hold", "A retry cannot help: the store no longer", set()),
        (str(NotEncrypted()), "", "hold", "A retry cannot help: the store has other bytes", set()),
        ("Eicar", "refused", "hold", "if the check is right", {RETRY, RELEASE}),
        ("Eicar", "refused", "delete", "had the file deleted", set()),
        (str(FileUncheckable(reason="encrypted")), "uncheckable", "hold", "ask for another one", {RETRY, RELEASE}),
        (str(CheckerUnavailable()), "uncheckable", "hold", "Start the checker", {RETRY, RELEASE}),
    ],
)
def test_failed_sessions_offer_only_helpful_actions(
    admin_client: Client,
    half: UploadSession,
    uploads_settings: Callable[..., None],
    failure: str,
    check_result: str,
    policy: str,
    advice: str,
    helpful: set[str],
) -> None:
    uploads_settings(ON_REFUSED=policy)
    page = admin_client.get(page_of(fail(half, failure, check_result))).content.decode()
    assert advice in page
    offered = re.findall(r'name="action" value="(\w+)"', page)
    assert helpful == {*offered[: len(helpful)]} == {*offered} & {RETRY, RELEASE}
    assert page.index(advice) < page.index("History") < page.index("Client") < page.index("Technical details")


def test_ended_sessions_offer_no_action(admin_client: Client, half: UploadSession) -> None:
    sessions.abort(half)
    assert 'name="action"' not in admin_client.get(page_of(half)).content.decode()


def test_history_names_users_and_operators(admin_client: Client, half: UploadSession) -> None:
    run(admin_client, "extend", half)
    run(admin_client, "abort", half)
    page = admin_client.get(page_of(half)).content.decode()
    events = re.findall(r'<td class="upload-reason">([^<]*)</td><td>([^<]*)</td></tr>', page)
    assert events == [("created", "demo"), ("Extended.", "admin"), ("aborted", "admin")]


def test_detail_page_shows_exact_sizes_without_alarms(admin_client: Client, open_session: OpenSession) -> None:
    session = open_session(12_345_678)
    page = admin_client.get(page_of(session)).content.decode()
    assert "11.8\xa0MB (12,345,678 bytes)" in page
    assert "icon-no" not in page


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_map_of_numbered_chunks_is_filled(store: Store, open_session: OpenSession, order: tuple[int, int]) -> None:
    """Chunks of unknown size that exceed a part become several fragments."""
    chunks = {1: bytes(25 * MIB), 2: bytes(15 * MIB)}
    session = open_session(40 * MIB)
    for number in order:
        blocks = (chunks[number][start : start + MIB] for start in range(0, len(chunks[number]), MIB))
        session = sessions.receive_numbered(session, Chunk(blocks, at_most=len(chunks[number])), number)
    session.refresh_from_db()
    drawing = drawn(session)
    assert drawing is not None
    assert drawing.cells == [(0, drawing.width, 1.0)]


def test_rate_is_shown_only_while_bytes_flow(admin_client: Client, half: UploadSession) -> None:
    UploadSession.objects.update(created_at=timezone.now() - timedelta(minutes=20))

    def row() -> dict[str, str]:
        return dict(admin_client.get(f"{LIST}live/?ids={half.pk.hex}").json()[half.pk.hex])

    assert "/s" in row()["speed"]
    UploadSession.objects.update(updated_at=timezone.now() - timedelta(minutes=5))
    assert (row()["speed"], row()["time_left"]) == ("–", "–")
    UploadSession.objects.update(lease_until=timezone.now() + timedelta(minutes=1))
    assert "/s" in row()["speed"]
