from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.data import sha256, some_bytes
from tests.faults.client import Client
from tests.faults.stack import Stack, running


@pytest.fixture(scope="session")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("faults"), os.environ.get("DATABASE_URL")) as stack:
        yield stack


@pytest.fixture
def stack(whole_stack: Stack) -> Iterator[Stack]:
    """The whole portal, without faults at first and without faults afterwards."""
    yield whole_stack
    whole_stack.proxy.heal()


@pytest.fixture
def client(stack: Stack) -> Client:
    return Client([stack.url()], stack.token)


@pytest.fixture
def upload(stack: Stack, client: Client) -> Callable[..., Any]:
    """Upload some bytes and see that the portal has them, once and whole, and the store nothing else."""

    def upload(size: int, *sizes: int, client: Client = client, leaves: bool = False, **fields: Any) -> Any:
        data = some_bytes(size)
        file = client.upload(data, itertools.cycle(sizes or (size,)), **fields)
        stack.proxy.heal()
        check(stack, client, file, data, leaves=leaves)
        return file

    return upload


def check(stack: Stack, client: Client, file: Any, data: bytes, *, leaves: bool = False) -> None:
    """See that the portal has the file, once and whole, and the store nothing else.

    Only where a fault makes it impossible not to leave something (``leaves``) is the audit needed for that.
    """
    assert client.download(file) == sha256([data])
    stack.ask("sessions.expire_stale(batch_size=100)")
    found = stack.ask("vars(sessions.audit(fix=True))")
    assert found["lost"] == []
    assert leaves or found["orphans"] == 0
    files = stack.ask("[[f.pk, f.content.name] for f in File.objects.all()]")
    assert [pk for pk, _ in files].count(file["id"]) == 1
    open_uploads = stack.ask("[s.object_name for s in UploadSession.objects.unfinished()]")
    pieces = stack.ask(
        "[p.piece for p in UploadPart.objects.filter(session__in=UploadSession.objects.open()) if p.piece]"
    )
    assert stack.stored() == ({name for _, name in files} | set(pieces), set(open_uploads))
    assert len(files) == stack.ask(
        "UploadSession.objects.filter(state='completed').values('file_id').distinct().count()"
    )
