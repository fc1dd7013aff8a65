"""Bytes are stored once when a browser repeats a request.

Browsers repeat a request automatically when the connection ends before the response.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import needs_browser, sign_in
from tests.data import MIB, sha256
from tests.e2e.conftest import Demo
from tests.proxy import Wire, wired

pytestmark = needs_browser

CHUNK = 10 * MIB
SEND = """
async ({size, form}) => {
  const created = await fetch("/api/2.0/files/1/upload/create_session", {
    method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({fileName: "copies.bin", fileSize: size, createNewIfExist: true}),
  });
  const {location} = (await created.json()).response.data;
  const answers = [];
  for (let start = 0; start < size; start += 10485760) {
    // Each chunk has bytes of its own.
    let body = new Blob([new Uint8Array(Math.min(10485760, size - start)).fill(1 + start / 10485760)]);
    if (form) {
      const fields = new FormData();
      fields.append("file", body, "blob");
      body = fields;
    }
    const answer = await fetch(location, {method: "POST", body});
    answers.push([answer.status, await answer.json()]);
    // The server names the offset to continue at.
    if (answer.status >= 300 && answer.status !== 409) break;
  }
  return answers;
}
"""


@pytest.fixture
def relay(demo: Demo) -> Iterator[Wire]:
    with wired(("127.0.0.1", int(demo.url.rpartition(":")[2]))) as wire:
        yield wire


@pytest.fixture
def page(browser: Browser, relay: Wire) -> Iterator[Page]:
    page = browser.new_page()
    sign_in(page, f"http://127.0.0.1:{relay.port}")
    yield page
    page.close()


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
@pytest.mark.parametrize("size", [3 * CHUNK + 1000, 3 * CHUNK], ids=["short-last", "all-alike"])
@pytest.mark.parametrize("lost", range(4))
def test_lost_response_stores_bytes_once(page: Page, demo: Demo, relay: Wire, form: bool, size: int, lost: int) -> None:
    if lost * CHUNK >= size:
        pytest.skip("there is no such chunk")
    loss = relay.lose(b"POST /ChunkedUploader.ashx", skip=lost)
    answers: list[Any] = page.evaluate(SEND, {"size": size, "form": form})
    assert loss.done.is_set()
    status, body = answers[-1]
    # A raw body does not identify its chunk: the client gets the offset, and nothing is stored twice.
    refused = [body["error"] for status, body in answers if status == 409]
    assert [error["type"] for error in refused] == ["chunk_ambiguous"] * (not form and (lost + 2) * CHUNK <= size)
    assert [error["details"]["expected"] for error in refused] == [(lost + 1) * CHUNK] * len(refused)
    assert status == 201, body
    stored = demo.http().get(f"{demo.url}/files/{body['data']['id']}/download").content
    sent = (bytes([number + 1]) * min(CHUNK, size - number * CHUNK) for number in range(-(-size // CHUNK)))
    assert sha256([stored]) == sha256(sent)
