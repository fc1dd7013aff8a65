"""Two web hosts with one database, broker and store, as ``make cluster`` starts them.

One host dies in the middle of a chunk.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.data import MIB, sha256, some_bytes
from tests.e2e.conftest import Demo
from tests.e2e.test_upload import eventually


@pytest.fixture(scope="module")
def cluster(start_demo: Callable[..., Demo]) -> Iterator[Demo]:
    demo = start_demo(WEB_HOSTS="2")
    yield demo
    demo.stop()


def test_client_continues_at_other_host(cluster: Demo) -> None:
    hosts = re.findall(r"(http://127\.0\.0\.1:\d+)/(?!admin)", cluster.ready_block)[:2]
    data = some_bytes(30 * MIB)
    http = cluster.http()
    path = cluster.create(len(data))["location"].removeprefix(hosts[0])
    assert http.post(hosts[0] + path, data=data[: 10 * MIB], timeout=60).status_code == 200

    def dying() -> Iterator[bytes]:
        yield data[10 * MIB : 15 * MIB]
        port = hosts[0].rpartition(":")[2]
        subprocess.run(["pkill", "-KILL", "-f", f"gunicorn.*127.0.0.1:{port} "], check=True)
        yield data[15 * MIB : 20 * MIB]

    with pytest.raises(requests.RequestException):
        http.post(hosts[0] + path, data=dying(), timeout=60)

    def stored() -> int:
        return int(http.get(hosts[1] + path, timeout=60).json()["data"]["bytes_uploaded"])

    assert stored() == 10 * MIB, "a chunk that was not answered does not count"
    for start in (10 * MIB, 20 * MIB):
        chunk = data[start : start + 10 * MIB]
        payload = {"Content-Range": f"bytes {start}-{start + len(chunk) - 1}/{len(data)}"}
        answers: list[requests.Response] = []

        def send(
            chunk: bytes = chunk, payload: dict[str, str] = payload, answers: list[requests.Response] = answers
        ) -> bool:
            answers.append(http.post(hosts[1] + path, data=chunk, headers=payload, timeout=60))
            return answers[-1].status_code != 423  # until the lease of the dead host expires

        eventually(send)
    assert answers[-1].status_code == 201, answers[-1].text
    url = answers[-1].json()["data"]["file"]["viewUrl"].replace(hosts[0], hosts[1])
    assert sha256([http.get(url, timeout=60).content]) == sha256([data])
    assert requests.get(f"{hosts[1]}/healthz", timeout=10).status_code == 200
