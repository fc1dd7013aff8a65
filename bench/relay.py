"""Simulate a connection to a distant store, with a delay and limited bandwidth.

``python -m bench.relay <port> <host:port>`` runs it in a separate process, so that clients do not slow it down.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque

DELAY = 0.02
"""Delay in seconds, each way."""
RATE = 40 * 2**20
"""Bytes per second and connection, each way."""
BLOCK = 2**18
UNDER_WAY = 4 * 2**20
"""Bytes in flight per direction, as in network buffers; more than DELAY * RATE."""


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Forward data with a delay and at a limited rate."""
    loop = asyncio.get_running_loop()
    waiting: deque[tuple[float, bytes]] = deque()
    changed, free_at = asyncio.Condition(), loop.time()
    held = [0]

    async def take_in() -> None:
        nonlocal free_at
        while True:
            data = await reader.read(BLOCK)
            free_at = max(free_at, loop.time()) + len(data) / RATE
            async with changed:
                await changed.wait_for(lambda: held[0] < UNDER_WAY)
                held[0] += len(data)
                waiting.append((free_at + DELAY, data))
                changed.notify_all()
            if not data:
                return

    async def give_out() -> None:
        while True:
            async with changed:
                await changed.wait_for(lambda: bool(waiting))
                due, data = waiting.popleft()
            await asyncio.sleep(due - loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()
            async with changed:
                held[0] -= len(data)
                changed.notify_all()

    await asyncio.gather(take_in(), give_out(), return_exceptions=True)


async def serve(port: int, host: str, far_port: int) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(host, far_port, limit=BLOCK)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    server = await asyncio.start_server(connect, "127.0.0.1", port, limit=BLOCK)
    await server.serve_forever()


if __name__ == "__main__":
    far, _, far_port = sys.argv[2].rpartition(":")
    asyncio.run(serve(int(sys.argv[1]), far, int(far_port)))
