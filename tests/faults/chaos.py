"""Run many clients against random faults and kills; account for every acknowledged byte.

Example: ``make chaos ARGS="--minutes 10 --seed 7"``.

The seed determines the clients' files and the order of the faults. The machine determines when each fault occurs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.data import MIB, sha256
from tests.faults.client import PASSING, Client, GaveUp
from tests.faults.stack import Stack, running
from tests.lanes import POSTGRESQL, REDIS, broker_answers, database_answers
from tests.proxy import (
    Wire,
    corrupt,
    cut_before,
    empty_etag,
    error_in_200,
    error_in_200_after,
    lose_answer,
    of_a_proxy,
    refuse,
    slow,
    wired,
)

FAULTS: dict[str, list[Any]] = {
    "CreateMultipartUpload": [refuse, lose_answer],
    "UploadPartCopy": [refuse, cut_before, lose_answer],
    "PutObject": [refuse, cut_before, lose_answer, corrupt],
    "GetObject": [refuse, cut_before],
    "UploadPart": [refuse, cut_before, lose_answer, corrupt, empty_etag, slow(3)],
    "DeleteObject": [refuse, cut_before],
    "CompleteMultipartUpload": [refuse, cut_before, lose_answer, error_in_200, error_in_200_after, slow(4)],
    "HeadObject": [refuse, cut_before],
    "AbortMultipartUpload": [refuse, lose_answer],
}
OF_PROXIES = [of_a_proxy(400), of_a_proxy(404)]
SLOW = (
    "/api/2.0/files/1/upload/create_session",
    "/api/2.0/files/1/upload",
    "/api/2.0/authentication",
    f"/ChunkedUploader.ashx?uid={'0' * 32}",
    "/tus/",
    "/uppy/s3/multipart",
)
"""Paths to which slow clients send bodies."""
SMALL = "small"
"""Name of the web server that composes files above 10 MiB from segments."""
TUS = {"Tus-Resumable": "1.0.0"}
BROKER_DATABASE = urlsplit(REDIS).path.strip("/") or "0"
PATIENCE = 240
"""Seconds for which a client keeps retrying."""


@dataclass
class Run:
    """Record of a run: the published files, abandoned sessions, event counts and problems."""

    published: dict[int, tuple[str, str]] = field(default_factory=dict)
    """SHA-256 and title of each file confirmed with 201, by file id."""
    unfinished: list[str] = field(default_factory=list)
    """Paths of the sessions that their clients abandoned."""
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, number: int = 1) -> None:
        with self.lock:
            self.counts[what] += number


def client_thread(stack: Stack, run: Run, seed: int, ends: float) -> None:
    """Upload file after file until the time is up."""
    chance = random.Random(seed)
    for number in itertools.count():
        if time.monotonic() > ends:
            return
        try:
            web = chance.choice(["web", "web", SMALL])
            _one_file(Client([stack.url(web)], stack.token, within=PATIENCE), run, chance, f"{seed}-{number}.bin")
        except Exception as error:
            run.problems.append(f"{seed}-{number}: {error!r}")


def _one_file(client: Client, run: Run, chance: random.Random, name: str) -> None:
    size = chance.choice([0, 1, chance.randrange(5 * MIB), chance.randrange(20 * MIB)])
    data = chance.randbytes(size)
    path = client.create(size, FileName=name, RelativePath=chance.choice(["", "a", "a/b", f"only/{name}"]))
    run.count("sessions")
    end = chance.choice(["whole"] * 8 + ["abandon", "abort"])
    if end != "whole":
        client.request("POST", path, files={"file": data[: size // 2]})
        if end == "abort":
            client.insist("POST", f"{path}&abort=true")
        else:
            run.unfinished.append(path)
        run.count(end)
        return
    way = chance.random()
    if size and way < 0.3:
        file = _send_numbered(client, path, data, chance)
        run.count("numbered")
    elif way < 0.6:
        file = _send_by_tus(client, path, data, chance, run)
        run.count("by tus")
    else:
        _cut_sometimes(client, path, data, chance)
        file = client.send(path, data, _sizes(chance))
    with run.lock:
        run.published[file["id"]] = (sha256([data]), file["title"])
        run.counts["files"] += 1
        run.counts["bytes"] += size


def _send_by_tus(client: Client, path: str, data: bytes, chance: random.Random, run: Run) -> Any:
    """Send a file by tus, sometimes over connections that break or fall silent."""
    address = f"/tus/{path.rpartition('=')[2]}"
    deadline, certain, zombies = time.monotonic() + PATIENCE, 0, contextlib.ExitStack()
    with zombies:
        while True:
            assert time.monotonic() < deadline, f"not done: {client.statuses[-20:]}"
            reported = client.insist("HEAD", address, headers=TUS)
            if reported.status_code != 200:
                raise GaveUp(reported)
            offset = int(reported.headers["Upload-Offset"])
            assert offset >= certain, "what was acknowledged is lost"
            if offset == len(data) and data:
                break
            certain, rest = offset, data[offset:]
            if len(rest) > MIB and chance.random() < 0.4:
                cut = chance.randrange(1, len(rest))
                if chance.random() < 0.5:
                    zombies.enter_context(_zombie(client, address, offset, rest, cut))
                    run.count("zombies")
                else:
                    _cut(client, address, offset, rest[:cut])
                continue
            answer = client.request("PATCH", address, data=rest, headers=_chunk(offset))
            if answer is not None and answer.status_code == 204 and not data:
                break
            if answer is not None and answer.status_code not in PASSING | {204, 409}:
                raise GaveUp(answer)
            client.pause(answer)
    while True:
        payload = client.insist("GET", address).json()
        if payload["state"] not in ("completing", "checking"):
            break
        assert time.monotonic() < deadline + PATIENCE, payload
        time.sleep(0.5)
    if payload["state"] != "completed":
        raise AssertionError(payload)
    return payload["file"]


def _chunk(offset: int) -> dict[str, str]:
    return TUS | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}


def _cut(client: Client, address: str, offset: int, data: bytes) -> None:
    def cut() -> Iterator[bytes]:
        yield data
        raise ConnectionError

    with contextlib.suppress(requests.RequestException, ConnectionError):
        client.http.patch(client.urls[0] + address, data=cut(), headers=_chunk(offset), timeout=30)


@contextlib.contextmanager
def _zombie(client: Client, address: str, offset: int, rest: bytes, cut: int) -> Iterator[None]:
    """Send part of a PATCH body, then keep the connection open without sending more."""
    host = client.urls[0].removeprefix("http://")
    payload = _chunk(offset) | {
        "Host": host,
        "Content-Length": str(len(rest)),
        "Authorization": f"Token {client.token}",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in payload.items())
    with socket.create_connection(host.split(":"), timeout=30) as connection:  # type: ignore[arg-type]
        with contextlib.suppress(OSError):
            connection.sendall(f"PATCH {address} HTTP/1.1\r\n{head}\r\n".encode() + rest[:cut])
        yield


def _sizes(chance: random.Random) -> Iterator[int]:
    while True:
        yield chance.choice([chance.randrange(1, MIB), 5 * MIB, chance.randrange(4 * MIB, 12 * MIB)])


def _cut_sometimes(client: Client, path: str, data: bytes, chance: random.Random) -> None:
    """Cut off a chunk in the middle, for about a third of the files."""
    if len(data) > MIB and chance.random() < 0.3:

        def cut() -> Iterator[bytes]:
            yield data[: len(data) // 2]
            raise ConnectionError

        with contextlib.suppress(requests.RequestException, ConnectionError):
            client.http.post(client.urls[0] + path, data=cut(), timeout=30)


def _send_numbered(client: Client, path: str, data: bytes, chance: random.Random) -> Any:
    """Send chunks in random order, two at a time and some twice; then finalize."""
    each = max(5 * MIB, -(-len(data) // 6))
    chunks = [(number, data[start : start + each]) for number, start in enumerate(range(0, len(data), each), 1)]
    chunks += chance.sample(chunks, len(chunks) // 3)
    chance.shuffle(chunks)

    def send(mine: list[tuple[int, bytes]]) -> None:
        one = Client(client.urls, client.token, within=PATIENCE)
        for number, chunk in mine:
            answer = one.insist("POST", f"{path}&upload=true&chunkNumber={number}", files={"file": chunk})
            if answer.status_code != 200:
                raise GaveUp(answer)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(send, (chunks[0::2], chunks[1::2])))
    answer = client.insist("POST", f"{path}&finalize=true")
    if answer.status_code != 201:
        raise GaveUp(answer)
    return answer.json()["data"]


def _drip(stack: Stack, chance: random.Random) -> None:
    """Hold twenty connections with incomplete bodies for two seconds."""
    host, path = stack.url().removeprefix("http://"), chance.choice(SLOW)
    with contextlib.ExitStack() as connections:
        for _ in range(20):
            connection = connections.enter_context(socket.create_connection(host.split(":"), timeout=30))  # type: ignore[arg-type]
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Token {stack.token}\r\n"
            connection.sendall(f"{head}Content-Length: {10 * MIB}\r\n\r\naaaa".encode())
        time.sleep(2)


def trouble_thread(stack: Stack, run: Run, seed: int, ends: float, broker: Wire | None) -> None:
    """Inject a fault about every second."""
    try:
        _make_trouble(stack, run, random.Random(seed), ends, broker)
    except Exception as error:
        run.problems.append(f"the trouble ended early: {error!r}")


def _make_trouble(stack: Stack, run: Run, chance: random.Random, ends: float, broker: Wire | None) -> None:
    while time.monotonic() < ends:
        time.sleep(chance.uniform(0.2, 1.5))
        kinds = ["store call", "workers", "celery", "database", "commit", "store", "read-only", "broker", "slow"]
        what = chance.choices(kinds, [60, 8, 3, 3, 8, 2, 2, 3, 4])[0]
        if what in ("store call", "store") and stack.files:
            if chance.random() < 0.2:
                stack.unmount(chance.uniform(0, 2))
                run.count("directory unmounted")
        elif what == "store call":
            kind = chance.choice(list(FAULTS))
            actions = OF_PROXIES if chance.random() < 0.15 else FAULTS[kind]
            stack.proxy.inject(kind, chance.choice(actions), times=chance.randint(1, 3), skip=chance.randint(0, 2))
        elif what == "workers":
            stack.kill_workers(chance.choice(["web", SMALL]))
            run.count("kills of web workers")
        elif what == "celery":
            stack.kill_celery()
            run.count("kills of Celery")
        elif what == "database" and stack.wire:
            stack.wire.cut(chance.uniform(0, 1))
            run.count("database cut")
        elif what == "commit" and stack.wire:
            stack.wire.lose(b"COMMIT", skip=chance.randint(0, 5))
            run.count("answers to a COMMIT lost")
        elif what == "store":
            stack.proxy.faults.down = True
            time.sleep(chance.uniform(1, 3))
            stack.proxy.faults.down = False
            run.count("store down")
        elif what == "read-only" and stack.wire:
            stack.read_only("on")
            time.sleep(chance.uniform(0, 2))
            stack.read_only("off")
            run.count("database read-only")
        elif what == "broker" and broker:
            broker.flows.clear()
            time.sleep(chance.uniform(1, 4))
            broker.flows.set()
            run.count("broker frozen")
        elif what == "slow":
            _drip(stack, chance)
            run.count("slow bodies", 20)


@contextlib.contextmanager
def _relayed_broker() -> Iterator[Wire | None]:
    """Put a relay before a Redis broker, so that a fault can freeze it."""
    url = urlsplit(os.environ.get("CELERY_BROKER_URL", ""))
    if url.scheme != "redis":
        yield None
        return
    with wired((url.hostname or "", url.port or 6379)) as wire:
        yield wire


def account(stack: Stack, run: Run) -> None:
    """Wait until the portal is idle, then compare its content with the acknowledged uploads."""
    stack.proxy.heal()
    if stack.wire:
        stack.wire.losses.clear()
    ids = [path.rpartition("=")[2] for path in run.unfinished]
    stack.ask(f"UploadSession.objects.open().filter(pk__in={ids!r}).update(expires_at='2020-01-01T00:00Z')")
    # No client knows the ids of sessions whose creation response was lost.
    stack.ask("UploadSession.objects.open().filter(bytes_stored=0).update(expires_at='2020-01-01T00:00Z')")
    stack.ask("UploadSession.objects.filter(state__in=['completing', 'checking']).update(retry_at=None)")
    deadline = time.monotonic() + 120
    while stack.ask("UploadSession.objects.filter(state__in=['open', 'completing', 'checking']).exists()"):
        if time.monotonic() > deadline:
            stuck = stack.ask("list(UploadSession.objects.filter(state__in=['open', 'completing']).values())")
            run.problems.append(f"stuck: {stuck}")
            break
        time.sleep(0.5)
    stack.ask("sessions.expire_stale(batch_size=500)")
    report = stack.ask("vars(sessions.audit(fix=True))")
    run.counts["orphans removed by the audit"] = report["freed"]
    client = Client([stack.url()], stack.token, within=PATIENCE)
    for pk, (digest, title) in run.published.items():
        if client.download({"id": pk}) != digest:
            run.problems.append(f"LOST: file {pk} {title} is not what was uploaded")
    for state, count in stack.ask("list(UploadSession.objects.values_list('state').annotate(Count('pk')))"):
        run.counts[f"sessions {state}"] = count
    files = stack.ask("[[f.pk, f.content.name] for f in File.objects.all()]")
    completed = stack.ask("UploadSession.objects.filter(state='completed').count()")
    checks = {
        "a session failed": stack.ask("UploadSession.objects.filter(state='failed').exists()"),
        "a published file is missing": set(run.published) - {pk for pk, _ in files},
        "files and completed sessions differ": len(files) != completed,
        "an object or multipart upload has no owner": stack.stored() != ({name for _, name in files}, set()),
        "part rows of ended sessions": stack.ask(
            "UploadPart.objects.filter(session__state__in=['aborted', 'expired']).count()"
        ),
        "folders that nothing is in": stack.ask(
            "[f.title for f in Folder.objects.filter(provisional=True)]"
            " + [f.title for f in Folder.objects.filter(parent__isnull=False, files=None, folders=None)]"
        ),
    }
    run.problems += [f"{name}: {value}" for name, value in checks.items() if value]


def chaos(
    directory: Path, database: str | None, *, seconds: float, seed: int, clients: int = 6, on_files: bool = False
) -> Run:
    """Run the stack, the clients and the faults; return the record of the run."""
    run = Run()
    with running(directory, database, on_files=on_files) as stack, _relayed_broker() as broker:
        extra = {"CELERY_BROKER_URL": f"redis://127.0.0.1:{broker.port}/{BROKER_DATABASE}"} if broker else {}
        stack.start_web(SMALL, SMALL_SEGMENTS="1", SHA256="1", **extra)
        ends = time.monotonic() + seconds
        threads = [
            threading.Thread(target=client_thread, args=(stack, run, seed * 1000 + number, ends))
            for number in range(clients)
        ]
        threads.append(threading.Thread(target=trouble_thread, args=(stack, run, seed, ends, broker)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        account(stack, run)
        run.counts.update({f"fault {name}": count for name, count in stack.proxy.faults.done.items()})
        run.counts["files of segments"] = stack.ask(
            "UploadSession.objects.filter(state='completed', segments__isnull=False).distinct().count()"
        )
        run.counts["takeovers"] = sum(
            path.read_text(errors="replace").count("taken over from") for path in directory.glob("*.log")
        )
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument(
        "--files", action="store_true", help="keep the files in a directory, which is unmounted at times"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.minutes} minutes, {options.clients} clients", flush=True)
    if broker_answers(REDIS):
        os.environ.setdefault("CELERY_BROKER_URL", REDIS)
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        database = POSTGRESQL if database_answers(POSTGRESQL) else None
        seconds = options.minutes * 60
        run = chaos(
            Path(name),
            database,
            seconds=seconds,
            seed=options.seed,
            clients=options.clients,
            on_files=options.files,
        )
        if run.problems:
            for log in Path(name).glob("*.log"):
                Path("var").mkdir(exist_ok=True)
                Path("var", f"chaos-{log.name}").write_bytes(log.read_bytes())
    print(json.dumps(dict(sorted(run.counts.items())), indent=1))
    print("\n".join(run.problems) or "lost = 0; nothing stuck, nothing left over")
    return bool(run.problems)


if __name__ == "__main__":
    sys.exit(main())
