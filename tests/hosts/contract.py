"""What must work in every portal: run as a program with the portal's settings, on a database that is empty.

Fails with the first assertion that does not hold.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django
from django.core.files.base import ContentFile
from django.core.management import call_command

CREATE = "/api/2.0/files/@my/upload/create_session"


def main() -> None:
    django.setup()
    from django.conf import settings

    for alias in settings.DATABASES:
        call_command("migrate", database=alias, verbosity=0)
    call_command("makemigrations", check=True, verbosity=0)
    call_command("check", fail_level="ERROR")
    upload()


def upload() -> None:
    from django.contrib.auth import get_user_model
    from django.test import Client
    from rest_framework.test import APIClient

    from uploads import sessions
    from uploads.models import State, UploadSession

    user = get_user_model().objects.create_superuser("contract", "contract@example.com", "contract")
    api = APIClient()
    api.force_authenticate(user)
    pages = Client()
    pages.force_login(user)
    pages.get("/")

    def create(name: str) -> Any:
        answer = api.post(CREATE, {"FileName": name, "FileSize": 4}, format="json")
        assert answer.status_code == 200, answer.content
        return answer.json()["data"]

    def send(session: dict[str, Any], data: bytes) -> Any:
        return api.post(session["location"], {"file": ContentFile(data, "blob")}, format="multipart")

    session = create("finished.bin")
    finished = send(session, b"abcd")
    assert finished.status_code == 201, finished.content
    file = finished.json()["data"]["file"]
    assert b"".join(api.get(file["viewUrl"]).streaming_content) == b"abcd"
    assert send(session, b"abcd").json() == finished.json()

    aborted = create("aborted.bin")
    assert api.post(f"{aborted['location']}&abort=true").status_code == 200
    late = create("late.bin")
    UploadSession.objects.filter(pk=late["id"]).update(expires_at=user.date_joined - timedelta(days=1))
    assert sessions.expire_stale(batch_size=10) == 1
    states = dict(UploadSession.objects.values_list("file_name", "state"))
    assert states == {"finished.bin": State.COMPLETED, "aborted.bin": State.ABORTED, "late.bin": State.EXPIRED}
    report = sessions.audit(fix=True)
    assert (report.orphans, report.lost) == (0, [])

    listed = pages.get("/admin/upload_sessions/uploadsession/")
    assert (listed.status_code, listed.content.count(b"contract")) >= (200, 3), listed.content
    page = pages.get(f"/admin/upload_sessions/uploadsession/{session['id']}/change/")
    assert page.status_code == 200
    user.delete()
    assert UploadSession.objects.get(pk=session["id"]).owner is None


if __name__ == "__main__":
    main()
