"""Help the tests of portals: functions for any test, and fixtures for pytest.

pytest finds the fixtures by ``pytest_plugins = ["uploads.testing"]`` in the portal's ``conftest.py``. Django's
TestCase enters ``temporary_storage`` itself. Files are stored in a temporary directory, not in the portal's storages.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from html.parser import HTMLParser
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import default_storage, storages
from django.core.signals import setting_changed

from uploads._internal import conf, sessions
from uploads._internal.conf import DEFAULT_ALIAS
from uploads._internal.sessions import Chunk, FileRequest
from uploads._internal.stores import alias_of
from uploads.destinations.registry import storages_in_use
from uploads.forms.destination import file_fields

if TYPE_CHECKING:
    from uploads.models import UploadSession

try:
    from pytest import fixture  # noqa: PT013 - pytest itself is not needed
except ImportError:  # Django's TestCase does not need the fixtures.

    def fixture(function: Any) -> Any:  # type: ignore[no-redef]
        return function


BLOCK = 2**20


@contextmanager
def temporary_storage() -> Iterator[Any]:
    """Replace the storages of uploads and of model fields by a temporary directory; yield the storage.

    In a TestCase, call ``self.enterContext(temporary_storage())`` in ``setUp``.
    """
    named = conf.current().STORAGE
    fields: dict[Any, str] = {}
    for field in file_fields():
        with suppress(ImproperlyConfigured):  # No upload goes to a storage without an alias.
            fields[field] = alias_of(field)
    with TemporaryDirectory() as directory, ExitStack() as stack:
        storage = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": directory}}
        replaced = dict.fromkeys([named, *storages_in_use(), *fields.values()], storage)
        stack.callback(_forget_storages)
        # In place: fixtures that change settings may end before or after this.
        stack.enter_context(patch.dict(settings.STORAGES, replaced))
        _forget_storages()
        for field, alias in fields.items():
            if field.storage is not default_storage:
                stack.enter_context(patch.object(field, "storage", storages[alias]))
        yield storages[named]


def _forget_storages() -> None:
    setting_changed.send(sender=temporary_storage, setting="STORAGES", value=settings.STORAGES, enter=True)


def _open_session(
    user: Any, name: str, size: int, *, folder_id: object = "", destination: str = DEFAULT_ALIAS, **options: Any
) -> UploadSession:
    request = FileRequest(name=name, size=size, destination=destination, **options)
    return sessions.create(user, str(folder_id), request)


def upload(user: Any, name: str, content: bytes, **options: Any) -> UploadSession:
    """Upload a file in one line, as a client would: ``upload(user, "a.txt", b"abc", folder_id="12")``.

    Return the ``completed`` session, whose ``file_id`` is the portal's file. Raise the error if it is refused.
    """
    session = _open_session(user, name, len(content), **options)

    def blocks() -> Iterator[bytes]:
        for start in range(0, len(content), BLOCK):
            yield content[start : start + BLOCK]

    return sessions.receive(session, Chunk(blocks(), at_most=len(content)))


def upload_token(client: Any, page: Any, field: str, name: str, content: bytes) -> str:
    """Upload a file to a field of a page, as the page's script would; return the token for the form's POST.

    ``page`` is the response that the client got. Raise AssertionError if the page has no such field, or if the
    file is refused.
    """
    parser = _UploadElements()
    parser.feed(page.content.decode(page.charset))
    if field not in parser.found:
        message = f"The page has no upload field {field!r}; its upload fields: {sorted(parser.found)}."
        raise AssertionError(message)
    element = parser.found[field]
    metadata = {"filename": name, **json.loads(element["metadata"])}
    headers = {
        "Tus-Resumable": "1.0.0",
        "Upload-Length": str(len(content)),
        "Upload-Metadata": ",".join(f"{key} {b64encode(text.encode()).decode()}" for key, text in metadata.items()),
    }
    answer = client.post(element["endpoint"], content, content_type="application/offset+octet-stream", headers=headers)
    if answer.status_code == 201:
        answer = client.get(answer["Location"])
        with suppress(KeyError):
            token: str = answer.json()["file"]["details"]["token"]
            return token
    message = f"The upload has no token: {answer.content.decode()}"
    raise AssertionError(message)


class _UploadElements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "upload-drop":
            attributes = {key: value or "" for key, value in attrs}
            self.found[attributes["name"]] = attributes


@fixture
def upload_storage() -> Iterator[Any]:
    """Store uploads in a temporary directory of the test; return the storage."""
    with temporary_storage() as storage:
        yield storage


@fixture
def upload_session(db: None, upload_storage: Any) -> Callable[..., UploadSession]:
    """Create a user's session, as a client would: ``upload_session(user, "a.txt", 3, folder_id="12")``."""
    return _open_session


@fixture
def uploaded(db: None, upload_storage: Any) -> Callable[..., UploadSession]:
    """Upload a file, as ``upload`` does: ``uploaded(user, "a.txt", b"abc", folder_id="12")``."""
    return upload
