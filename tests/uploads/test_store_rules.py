"""Run the whole contract of uploads behind the documented rules of stores that tests cannot use."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.utils import timezone

from tests.data import MIB, some_bytes
from tests.foreign import ForeignStore
from tests.helpers import Uploader
from tests.proxy import Action, Answer, Call, Proxy, refuses_checksums, with_code
from uploads._internal import doctor, sessions
from uploads._internal.http.exceptions import IncompleteBody
from uploads._internal.sessions import Chunk, Rules, direct
from uploads.models import State, StoreRecord, UploadSession

OpenSession = Callable[..., UploadSession]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("small_chunks")]
ALWAYS = 10**6
DATA = some_bytes(17 * MIB, seed=25)
PROGRESSIVE = Rules(progressive=True, accepts_resends=False)


@dataclass
class Rule:
    """A store: its rules, and the settings for it on the page ``docs/stores.md``."""

    settings: dict[str, Any] = field(default_factory=dict)
    store: ForeignStore = field(default_factory=ForeignStore)
    refuses: Callable[[Call], Any] | None = None
    calls: dict[str, Action] = field(default_factory=dict)


STORES = {
    "r2": Rule(store=ForeignStore(equal_sizes=True)),
    "google": Rule(
        {"CHECKSUMS": False, "DELETES_MANY": False},
        refuses=refuses_checksums(403, "SignatureDoesNotMatch"),
        calls={"DeleteObjects": with_code(501, "NotImplemented")},
    ),
    "b2": Rule(refuses=refuses_checksums(400, "InvalidArgument", reads_only=True)),
    "scaleway": Rule({"MAX_PARTS": 12}, ForeignStore(most_parts=12)),
    "ontap": Rule({"DELETES_MANY": False}, calls={"DeleteObjects": with_code(403, "AccessDenied")}),
    "ceph": Rule(store=ForeignStore(refuses_unlisted=True)),
    "kms": Rule(store=ForeignStore(names_writes=True)),
    "no-list-parts": Rule({"LISTS_PARTS": False}, ForeignStore(lists_parts=False)),
    "no-list-uploads": Rule(calls={"ListMultipartUploads": with_code(501, "NotImplemented")}),
    "minio": Rule(calls={"ListMultipartUploads": lambda call: _without_prefixes(call)}),
}


def _without_prefixes(call: Call) -> Answer:
    """List uploads by exact key only."""
    answer = call.forward()
    (prefix,) = parse_qs(urlsplit(call.path).query)["prefix"]
    if prefix.endswith("/"):
        answer.body = re.sub(rb"<Upload>.*?</Upload>", b"", answer.body, flags=re.DOTALL)
    return answer


@pytest.fixture(params=STORES)
def rule(request: pytest.FixtureRequest, proxy: Proxy) -> Rule:
    rule = STORES[request.param]
    proxy.store = replace(rule.store, parts={})
    if rule.refuses:
        proxy.rules.append(rule.refuses)
    for kind, action in rule.calls.items():
        proxy.inject(kind, action, times=ALWAYS)
    return rule


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["detected", "configured"])
def configured(request: pytest.FixtureRequest, rule: Rule, uploads_settings: Callable[..., None]) -> bool:
    """Configure the store; what a store cannot be asked is configured in any case."""
    known = rule.settings if request.param else {name: rule.settings[name] for name in {"MAX_PARTS"} & {*rule.settings}}
    uploads_settings(STORES={"default": known})
    return bool(request.param)


@pytest.mark.usefixtures("configured")
def test_uploads_follow_the_rules_of_a_store(
    uploader: Uploader,
    open_session: OpenSession,
    s3_keys: Callable[[], set[str]],
    s3_uploads: Callable[[], set[str]],
    rule: Rule,
    uploads_settings: Callable[..., None],
) -> None:
    uploads_settings(DIRECT=True)
    files = [_in_order(uploader), _numbered(uploader), _progressive(open_session)]
    if rule.store.lists_parts:
        files.append(_direct(open_session))
    names = {session.object_name for session in files}
    assert sessions.abort(_begun(open_session)).storage_released
    _begun(open_session)
    UploadSession.objects.open().update(expires_at=timezone.now())
    assert sessions.expire_stale(batch_size=10) == 1
    assert {key.partition("/")[2] for key in s3_keys()} == names
    assert s3_uploads() == set()


@pytest.mark.usefixtures("configured")
def test_audit_and_doctor_accept_the_store(
    open_session: OpenSession, s3_keys: Callable[[], set[str]], s3_uploads: Callable[[], set[str]], rule: Rule
) -> None:
    session = _begun(open_session)
    before = s3_keys(), s3_uploads()
    lines: list[str] = []
    report = sessions.audit(fix=True, tell=lines.append)
    assert (report.lost, report.orphans) == ([], 0)
    session.refresh_from_db()
    assert session.state == State.OPEN
    found = [finding for finding in doctor.examine() if finding.about == "store"]
    assert [finding.text for finding in found if not finding.ok] == []
    hidden = "ListMultipartUploads" in rule.calls
    assert any("multipart uploads" in line for line in lines) == hidden, lines
    assert any("cannot find abandoned" in finding.text for finding in found) == hidden
    assert (s3_keys(), s3_uploads()) == before


@pytest.mark.parametrize(
    ("store", "payload"),
    [
        (ForeignStore(most_parts=12), "set MAX_PARTS in UPLOADS"),
        (ForeignStore(ignores_etags=True), "the store ignores which write of a part is completed"),
    ],
)
def test_doctor_reports_a_store_that_needs_settings(
    store: ForeignStore, payload: str, proxy: Proxy, uploads_settings: Callable[..., None]
) -> None:
    uploads_settings(STORES={"default": {"CHECKSUMS": False}})
    proxy.store = replace(store, parts={})
    problems = [finding.text for finding in doctor.examine() if not finding.ok]
    assert any(payload in text for text in problems), problems


def test_missing_encryption_key_is_final_and_named(uploader: Uploader, proxy: Proxy) -> None:
    session = uploader.create(len(DATA), CreateNewIfExist=True)
    proxy.inject("CreateMultipartUpload", with_code(400, "KMS.NotFoundException"), times=ALWAYS)
    answer = uploader.send_raw(session, DATA[: 6 * MIB])
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "storage_refused"
    assert "KMS.NotFoundException" in answer.json()["error"]["message"]
    problems = [finding.text for finding in doctor.examine() if not finding.ok]
    assert any("KMS.NotFoundException" in text for text in problems), problems
    assert not StoreRecord.objects.filter(capabilities__has_key="CHECKSUMS").exists()


def _in_order(uploader: Uploader) -> UploadSession:
    """Send chunks whose sizes grow."""
    session = uploader.create(len(DATA), CreateNewIfExist=True)
    start = 0
    for size in (MIB, 5 * MIB, 11 * MIB):
        answer = uploader.send_raw(session, DATA[start : start + size])
        start += size
    assert answer.status_code == 201, answer.content
    assert uploader.download(answer) == DATA
    return _row(session)


def _numbered(uploader: Uploader) -> UploadSession:
    session = uploader.create(len(DATA), CreateNewIfExist=True)
    for number in (2, 3, 1, 2):
        part = DATA[(number - 1) * 6 * MIB : number * 6 * MIB]
        location = session["location"] + f"&upload=true&chunkNumber={number}"
        answer = uploader.send_raw({"location": location}, part)
        assert answer.status_code == 200, answer.content
    answer = uploader.api.post(session["location"] + "&finalize=true")
    assert answer.status_code == 201, answer.content
    assert uploader.download(answer) == DATA
    return _row(session)


def _row(session: dict[str, Any]) -> UploadSession:
    row: UploadSession = UploadSession.objects.get(pk=session["id"])
    return row


def _progressive(open_session: OpenSession) -> UploadSession:
    """Send requests that are cut, as a client of tus does."""
    session = open_session(len(DATA), create_new=True)

    def cut(start: int, end: int) -> Iterator[bytes]:
        for at in range(start, end, MIB):
            yield DATA[at : min(end, at + MIB)]
        raise IncompleteBody(received=end - start, declared=len(DATA) - start)

    for end in (3 * MIB + 5, 9 * MIB):
        with pytest.raises(IncompleteBody):
            sessions.receive(session, Chunk(cut(session.bytes_stored, end), rules=PROGRESSIVE))
        session.refresh_from_db()
        assert session.bytes_stored == end
    session = sessions.receive(session, Chunk(iter([DATA[9 * MIB :]]), rules=PROGRESSIVE))
    assert session.state == State.COMPLETED, session.failure
    return session


def _direct(open_session: OpenSession) -> UploadSession:
    """Send parts to signed URLs, and one of them twice."""
    session = open_session(len(DATA), create_new=True)
    size = direct.PART_SIZE
    parts = {number: DATA[(number - 1) * size : number * size] for number in (1, 2, 3)}
    for part in direct.sign_parts(session, {number: zlib.crc32(data) for number, data in parts.items()}):
        for _ in range(1 + (part.number == 2)):
            sent = requests.put(part.signed.url, parts[part.number], headers=part.signed.headers, timeout=60)
            assert sent.status_code == 200, sent.content
    session = direct.complete_direct(session)
    assert session.state == State.COMPLETED, session.failure
    return session


def _begun(open_session: OpenSession) -> UploadSession:
    session = open_session(len(DATA), create_new=True)
    return sessions.receive(session, Chunk(iter([DATA[: 6 * MIB]])))
