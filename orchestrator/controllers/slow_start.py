"""Create many children without a storm of refusals."""

import asyncio
from collections.abc import Awaitable, Callable

INITIAL_BATCH_SIZE = 1


async def slow_start(
    count: int, create: Callable[[], Awaitable[None]]
) -> tuple[int, Exception | None]:
    """Call `create` `count` times in batches of 1, 2, 4, …, each batch at once.

    Stops after a batch with a failure. Returns how many succeeded, and the first failure: when
    quota or policy refuses all, one request is lost, not hundreds.
    """
    succeeded, batch_size = 0, INITIAL_BATCH_SIZE
    remaining = count
    while remaining:
        batch_size = min(batch_size, remaining)
        outcomes = await asyncio.gather(
            *(create() for _ in range(batch_size)), return_exceptions=True
        )
        failure: Exception | None = None
        for outcome in outcomes:
            if outcome is None:
                succeeded += 1
            elif isinstance(outcome, Exception):
                failure = failure or outcome
            else:
                raise outcome
        if failure is not None:
            return succeeded, failure
        remaining -= batch_size
        batch_size *= 2
    return succeeded, None
