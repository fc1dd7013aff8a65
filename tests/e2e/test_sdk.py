"""The vendor's unmodified Python SDK, with every call that it has for uploads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import docspace_api_sdk as sdk
import pytest

from tests.data import MIB, sha256, some_bytes
from tests.e2e.conftest import Demo


@pytest.fixture(params=["bearer", "basic", "cookie"])
def client(demo: Demo, request: pytest.FixtureRequest) -> Iterator[sdk.ApiClient]:
    ways: dict[str, dict[str, Any]] = {
        "bearer": {"access_token": demo.token},
        "basic": {"username": "demo", "password": "demo"},
        "cookie": {"api_key": {"asc_auth_key": demo.token}},
    }
    with sdk.ApiClient(sdk.Configuration(host=demo.url, **ways[request.param])) as api:
        yield api


def test_login(demo: Demo) -> None:
    with sdk.ApiClient(sdk.Configuration(host=demo.url)) as api:
        wanted = sdk.AuthRequestsDto(user_name="demo", password="demo")
        assert sdk.AuthenticationApi(api).authenticate_me(wanted).response.token == demo.token


@pytest.fixture
def operations(client: sdk.ApiClient) -> Any:
    return sdk.OperationsApi(client)


def content(demo: Demo, file: Any) -> bytes:
    return demo.http().get(file.view_url).content


def session_request(name: str, size: int) -> Any:
    return sdk.SessionRequest(file_name=name, file_size=size, create_on=sdk.ApiDateTime(), create_new_if_exist=True)


def test_chunks_in_order(demo: Demo, operations: Any) -> None:
    data = some_bytes(10 * MIB + 5)
    created = operations.create_upload_session(1, session_request("in-order.txt", len(data))).response
    assert created.success
    session = created.data
    assert session.path == [1]
    first = operations.upload_session(1, session.id, file=data[: 10 * MIB]).response
    assert (first.uploaded, first.id) == (False, 0)
    last = operations.upload_session_with_http_info(1, session.id, file=("in-order.txt", data[10 * MIB :]))
    assert last.status_code == 201
    answer = sdk.UploadSessionResponseIntegerWrapper.from_json(last.raw_data).response
    assert answer.uploaded
    assert answer.file.title.startswith("in-order")
    assert sha256([content(demo, answer.file)]) == sha256([data])


def test_numbered_chunks_are_finalized(demo: Demo, operations: Any) -> None:
    data = some_bytes(25 * MIB)
    session = operations.create_upload_session_in_folder(1, session_request("numbered.bin", len(data))).response
    for number in (3, 1, 2):
        chunk = data[(number - 1) * 10 * MIB : number * 10 * MIB]
        stored = operations.upload_async_session(1, session.id, chunk_number=number, file=chunk).response
        assert (stored.id, stored.path) == (session.id, [1])
    finished = operations.finalize_session_with_http_info(folder_id=1, session_id=session.id)
    assert finished.status_code == 201
    answer = sdk.UploadSessionResponseIntegerWrapper.from_json(finished.raw_data).response
    assert (answer.uploaded, answer.folder_id, answer.version) == (True, 1, 1)
    assert sha256([content(demo, answer.file)]) == sha256([data])


def test_abort_closes_session(operations: Any) -> None:
    session = operations.create_upload_session_in_folder(1, session_request("aborted.bin", 5)).response
    operations.abort_upload_session(folder_id=1, session_id=session.id)
    with pytest.raises(sdk.ApiException) as caught:
        operations.upload_session(1, session.id, file=b"12345")
    assert caught.value.status == 410


def test_edit_session_and_name_check(demo: Demo, client: sdk.ApiClient, operations: Any) -> None:
    name = f"edited-{id(client)}.txt"
    session = operations.create_upload_session_in_folder(1, session_request(name, 3)).response
    raw = operations.upload_session_with_http_info(1, session.id, file=b"one").raw_data
    file = sdk.UploadSessionResponseIntegerWrapper.from_json(raw).response
    edit = sdk.FilesApi(client)
    session = edit.create_edit_session(file.id, file_size=5).response.data
    raw = operations.upload_session_with_http_info(1, session.id, file=b"three").raw_data
    edited = sdk.UploadSessionResponseIntegerWrapper.from_json(raw).response
    assert (edited.id, edited.version) == (file.id, 1)
    assert content(demo, edited.file) == b"three"
    folders = sdk.FoldersApi(client)
    request = sdk.CheckUploadRequest(files_title=[name, "another.txt"])
    assert folders.check_upload(1, request).response == [name]
