"""What the app brings along for the tests of portals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from portal.models import File, Folder
from uploads.exceptions import ExtensionNotAllowed
from uploads.models import State, UploadSession

Uploaded = Callable[..., UploadSession]


def test_a_file_in_one_line(uploaded: Uploaded, user: User, root: Folder) -> None:
    session = uploaded(user, "a.txt", b"abc", folder_id=root.pk)
    assert session.state == State.COMPLETED
    with File.objects.get(pk=session.file_id).content.open() as content:
        assert content.read() == b"abc"


def test_what_is_refused_is_raised(uploaded: Uploaded, user: User, root: Folder, uploads_settings: Any) -> None:
    uploads_settings(ALLOWED_EXTENSIONS={".png"})
    with pytest.raises(ExtensionNotAllowed):
        uploaded(user, "a.txt", b"abc", folder_id=root.pk)


def test_a_session_under_way(upload_session: Uploaded, upload_storage: Any, user: User, root: Folder) -> None:
    session = upload_session(user, "a.txt", 3, folder_id=root.pk)
    assert (session.state, session.bytes_stored) == (State.OPEN, 0)
    assert not upload_storage.exists(session.object_name)
