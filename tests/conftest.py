"""Settings that hold for every test."""

import asyncio
import logging
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.testing.plain_core import VARIABLE, is_wanted, use_plain_core
from tools.compiled_sources import changed

if is_wanted():
    use_plain_core()

OURS = ("raftkv", "orchestrator", "asyncio")
"""Loggers, and those below them, that a test may change for itself only."""
NULL = Path("/dev/null")

LoggingState = dict[str, tuple[object, ...]]


def pytest_configure() -> None:
    """Leave no event loop that nobody closes, and let interrupts through to what tests start.

    pytest-asyncio asks for the current loop before its first test; where none was ever set, the
    interpreter makes one, which ends the run as an unclosed resource. A shell has what it starts
    in the background ignore interrupts, and that is inherited for ever.
    """
    asyncio.set_event_loop(None)
    if stale := changed():
        raise pytest.UsageError(
            f"not compiled since they changed: {', '.join(stale)}; `make build`"
        )
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of the core that this run has: plain or compiled."""
    others = [
        item for item in items if (item.get_closest_marker("plain_core") is None) is is_wanted()
    ]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


def pytest_report_header() -> str:
    """Say which tests are not run."""
    if is_wanted():
        return "the Raft core is the plain one: only tests marked plain_core run"
    return f"the Raft core is the compiled one: tests marked plain_core run with {VARIABLE}=1"


@pytest.fixture(autouse=True)
def the_null_device_is_left_alone() -> Iterator[None]:
    """Fail the test that has root replace or close off /dev/null: much else fails without it."""
    yield
    mode = NULL.stat().st_mode
    if not stat.S_ISCHR(mode) or stat.S_IMODE(mode) != 0o666:
        pytest.fail(f"{NULL} has become {stat.filemode(mode)}: make it anew with mknod, and chmod")


@pytest.fixture(autouse=True)
def logging_is_left_alone() -> Iterator[None]:
    """Fail the test that leaves logging changed, instead of one much later that finds no records.

    pytest's own handlers come and go, and do not count.
    """
    before = logging_state()
    yield
    after = logging_state()
    if after != before:
        changed = {
            name: f"{before.get(name)} -> {after.get(name)}"
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        }
        pytest.fail(f"(level, handlers, disabled, propagate) are not what they were: {changed}")


def logging_state() -> LoggingState:
    """Return what differs from an untouched logger's, by name; the root logger's always."""
    root = logging.getLogger()
    state: LoggingState = {"root": (*described(root), root.manager.disable)}
    untouched = (logging.NOTSET, (), False, True)
    for name, logger in root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in OURS:
            found = described(logger)
            if found != untouched:
                state[name] = found
    return state


def described(logger: logging.Logger) -> tuple[object, ...]:
    handlers = tuple(
        handler for handler in logger.handlers if not type(handler).__module__.startswith("_pytest")
    )
    return (logger.level, handlers, logger.disabled, logger.propagate)
