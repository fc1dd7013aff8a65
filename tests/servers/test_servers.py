"""Upload behind each server and each proxy: truncated chunks do not count.

Only the servers in ``SPOOLING`` write chunks to disk.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from tests.data import MIB
from tests.servers import run
from uploads._internal.http.probes import probe_upload

SIZE = 40 * MIB
SPOOLING = ("waitress", "daphne (ASGI)", "nginx, buffering")
NO_CHUNKED = ("uWSGI", "runserver")


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[run.Portal]:
    if not run.install():
        pytest.skip("the servers cannot be installed on this machine")
    portal = run.Portal(tmp_path_factory.mktemp("servers") / "data")
    yield portal
    portal.store.stop()


def judge(result: run.Result) -> None:
    assert result.chunk == "201"
    # These servers close while the client still sends, so some clients cannot read the 411.
    assert result.chunked in (("411", "ConnectionError") if result.name in NO_CHUNKED else ("201",))
    assert result.cut == "does not count"
    # A proxy may drop the last bytes before the cut.
    assert result.patch in (("lost",) if result.name in SPOOLING else ("kept", "partly kept"))
    assert (result.disk > SIZE // MIB // 2) == (result.name in SPOOLING), result


@pytest.mark.parametrize("name", run.SERVERS)
def test_upload_behind_server(portal: run.Portal, name: str) -> None:
    with portal.serving(name) as (pid, port):
        url = f"http://127.0.0.1:{port}"
        judge(portal.look(name, url, pid, SIZE))
        found = probe_upload(url, "tus/", MIB, lambda answer: answer["code"])
        assert found.ok == (name != "gunicorn, sync"), found.text
        assert found.ok or "gunicorn's sync workers" in found.text
        if "ASGI" in name:  # Slow clients must not occupy the event loop.
            with ExitStack() as slow:
                for _ in range(8):
                    raw = "Content-Type: application/octet-stream"
                    slow.enter_context(portal.connected("POST", portal.create(url, SIZE), raw)).sendall(b"x")
                assert portal.http.get(f"{url}/login/", timeout=10).status_code == 200


@pytest.mark.parametrize("name", run.FRONTS)
def test_upload_behind_proxy(portal: run.Portal, name: str) -> None:
    if not shutil.which(name.split(",")[0].lower()):
        pytest.skip("not on this machine")
    with portal.serving("gunicorn, gthread") as (_, port), portal.fronted(name, port) as (pid, url):
        judge(portal.look(name, url, pid, SIZE))
        if "HTTP/2" in name:
            assert run.over_http2(portal, url, SIZE) == "2 201"


def test_compose_file_is_consistent() -> None:
    """Examine names, files and settings only; running the containers needs Docker."""
    composed = yaml.safe_load((run.ROOT / "compose.yml").read_text())
    services = composed["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for volume in service.get("volumes", ()):
            assert (run.ROOT / Path(volume.split(":")[0])).exists()
    known = (run.ROOT / "portal" / "settings.py").read_text()
    for name in composed["x-portal"]["environment"]:
        assert f'"{name}"' in known or name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    assert {"web1", "web2", "volume1", "volume2", "volume3", "nginx", "postgres", "redis"} <= set(services)
    for copied in ("requirements/run.txt", "manage.py", "uploads", "portal", "templates"):
        assert (run.ROOT / copied).exists()
        assert copied.split("/")[0] in (run.ROOT / "Dockerfile").read_text()
