"""Forwards TCP connections, so that the containers of a local run reach their store and nothing else.

Run in a container that sees both: python3 -m moist.runtime.relay HOST PORT
"""

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from moist.runtime.provenance import code_version


def main(argv: Sequence[str]) -> None:
    """Listen at PORT and forward to HOST:PORT until killed; prints the code's version once it listens."""
    asyncio.run(_serve(argv[0], int(argv[1])))


async def _serve(host: str, port: int) -> None:
    async def forward(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection(host, port)
        except OSError:
            to_client.close()  # the client sees a connection that ends, and tries again
            return
        await asyncio.gather(_pump(client, to_server), _pump(server, to_client))

    listening = await asyncio.start_server(forward, "0.0.0.0", port)
    sys.stdout.write(f"{code_version()}\n")
    sys.stdout.flush()
    async with listening:
        await listening.serve_forever()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    with contextlib.suppress(OSError):
        target.close()


if __name__ == "__main__":
    main(sys.argv[1:])
