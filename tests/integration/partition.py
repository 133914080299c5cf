"""A way to the API server that can be cut: connections stay open, and nothing gets through."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class Way:
    """Forwards bytes in both directions while `open` is set; holds them back otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self._target = (host, port)
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """From now on, as with an unplugged cable: no answer, and no refusal."""
        self.open.clear()

    def heal(self) -> None:
        """What was held back arrives."""
        self.open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        to_reader, to_writer = await asyncio.open_connection(*self._target)
        pumps = {
            asyncio.create_task(self._pump(reader, writer, to_writer)),
            asyncio.create_task(self._pump(to_reader, to_writer, writer)),
        }
        self._tasks |= pumps
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pumps:
            task.cancel()
        for end in (writer, to_writer):
            end.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        forth: asyncio.StreamWriter,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                while not self.open.is_set():
                    # As with a cable: what a sender still has when it resets is never sent.
                    if back.transport.is_closing():
                        return
                    await asyncio.sleep(0.01)
                forth.write(data)
                await forth.drain()

    async def close(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def way_to_api_server(folder: Path) -> AsyncIterator[tuple[Way, Path]]:
    """The way, and a kubeconfig that leads over it."""
    text = await asyncio.to_thread(Path(os.environ["KUBECONFIG"]).read_text)
    config = yaml.safe_load(text)
    (cluster,) = (entry["cluster"] for entry in config["clusters"])
    target = urlsplit(cluster["server"])
    assert target.hostname
    way = Way(target.hostname, target.port or 443)
    server = await asyncio.start_server(way.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cluster["server"] = f"https://127.0.0.1:{port}"
    cluster["tls-server-name"] = target.hostname
    path = folder / "kubeconfig-cut"
    await asyncio.to_thread(path.write_text, json.dumps(config))
    try:
        yield way, path
    finally:
        server.close()
        await way.close()
