"""Wait for what must come true, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable

POLL_S = 0.05


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = 20.0) -> None:
    """Return once `holds()` does. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(POLL_S)
