"""Hand the leadership over and wait until somebody else has it."""

import asyncio

from raftkv.errors import ErrorCode, StoreError

__all__ = ["LeadershipTransfer"]


class LeadershipTransfer:
    """Who waits for another leader than this member."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    async def done(self, timeout_s: float) -> None:
        """Return once somebody else leads. Raises StoreError when it does not come to it."""
        changed: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(changed)
        try:
            async with asyncio.timeout(timeout_s):
                await changed
        except TimeoutError:
            raise StoreError(ErrorCode.TIMEOUT) from None

    def other_leads(self) -> None:
        """Take note that somebody else leads."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()
