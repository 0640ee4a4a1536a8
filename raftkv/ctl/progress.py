"""Progress of long work, on standard error where a person watches it; nothing in pipes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from raftkv.ctl.mirror import Mirror

__all__ = ["bytes_bar", "count_bar"]

Advance = Callable[[int, int], object]
"""Called with what is done and what there is in all, 0 for not known yet."""


@contextmanager
def bytes_bar(doing: str) -> Iterator[Advance]:
    """Show a bar of bytes while the block runs, such as `with bytes_bar("saving") as advance`."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


@contextmanager
def count_bar(doing: str, total: int) -> Iterator[Callable[[int], object]]:
    """Show how many of `total` are done while the block runs."""
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def mirror_line() -> Iterator[Callable[[Mirror], object]]:
    """Show how far a copy is, in one line, while the block runs."""
    if not sys.stderr.isatty():
        yield lambda _mirror: None
        return
    console = Console(stderr=True)
    with console.status("copying") as status:
        yield lambda mirror: status.update(_told(mirror))


def _told(mirror: Mirror) -> str:
    at = mirror.place.revision
    if mirror.place.next_key is not None:
        return f"copying at revision {at}: {mirror.copied} of {mirror.total_keys} keys"
    behind = max(0, mirror.source_revision - at)
    return f"following at revision {at}, {behind} behind; {mirror.copied} keys written"
