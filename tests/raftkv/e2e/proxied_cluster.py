"""Members whose connections to each other go through this process, which may cut them."""

import asyncio
import contextlib
from pathlib import Path

from raftkv.testing.process_cluster import ProcessCluster, free_port

READ_BYTES = 64 << 10


class ProxiedCluster(ProcessCluster):
    """Each member is advertised at a port of a `Proxy` in front of it."""

    def __init__(self, members: int, directory: Path, flags: list[str]) -> None:
        super().__init__(members, directory, flags)
        self.listen_ports = [free_port() for _ in self.names]

    def arguments(self, member: int) -> list[str]:
        """Listen behind the proxy."""
        listen = f"--listen-peer-urls=http://127.0.0.1:{self.listen_ports[member]}"
        return [*super().arguments(member), listen]


class Proxy:
    """Passes connections on to one member, unless it is cut off."""

    def __init__(self, port: int, target: int) -> None:
        self._port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_cut = False

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    def cut(self) -> None:
        """End all connections to the member and let no new ones pass."""
        self.is_cut = True
        for task in self._tasks:
            task.cancel()

    def heal(self) -> None:
        """Let connections pass again."""
        self.is_cut = False

    async def close(self) -> None:
        """Stop listening and end everything."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        onward: asyncio.StreamWriter | None = None
        try:
            if self.is_cut:
                return
            back, onward = await asyncio.open_connection("127.0.0.1", self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, onward))
                group.create_task(_copy(back, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for one in (writer, onward):
                if one is not None:
                    one.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until either side ends."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
