"""Settings that hold for every test."""

import asyncio


def pytest_configure() -> None:
    """Leave no event loop that nobody closes.

    pytest-asyncio asks for the current loop before its first test; where none was ever set, the
    interpreter makes one, which ends the run as an unclosed resource.
    """
    asyncio.set_event_loop(None)
