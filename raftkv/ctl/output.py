"""Writing to standard output: raw lines, JSON, and tables for people and for pipes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from google.protobuf.message import Message
from rich import box
from rich.console import Console
from rich.table import Table

from raftkv.ctl import json_format


def lines(items: Iterable[str | bytes]) -> None:
    """Write each item as a line, bytes untouched, and let readers see them now."""
    out = sys.stdout.buffer
    for item in items:
        out.write(item if isinstance(item, bytes) else item.encode("utf-8", "surrogateescape"))
        out.write(b"\n")
    out.flush()


def as_json(value: json_format.Json) -> None:
    lines([json_format.text(value)])


def as_protobuf(response: Message) -> None:
    """Write a response as the API encodes it, and nothing else."""
    sys.stdout.buffer.write(response.SerializeToString())
    sys.stdout.buffer.flush()


def response(
    written: str,
    answer: Message,
    simple: Callable[[], Iterable[str | bytes]],
    fields: Callable[[], Iterable[str | bytes]],
) -> None:
    """Write one response of the API in one of the formats but table."""
    match written:
        case "json":
            as_json(json_format.message(answer))
        case "fields":
            lines(fields())
        case "protobuf":
            as_protobuf(answer)
        case _:
            lines(simple())


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], is_terminal: bool) -> None:
    """Write a table: with colour where a person looks, in plain ASCII (etcdctl's) in a pipe."""
    if not is_terminal:
        lines(ascii_table(headers, rows))
        return
    Console(file=sys.stdout).print(rich_table(headers, rows))


def rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table for a terminal."""
    view = Table(box=box.ROUNDED, header_style="bold cyan")
    for at, header in enumerate(headers):
        view.add_column(header, overflow="fold", no_wrap=at == 0)
    for row in rows:
        view.add_row(*(_coloured(cell) for cell in row))
    return view


def _coloured(cell: str) -> str:
    colour = {"true": "green", "false": "dim", "started": "green", "unstarted": "yellow"}.get(cell)
    escaped = cell.replace("[", r"\[")
    return f"[{colour}]{escaped}[/]" if colour else escaped


def ascii_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Draw with `+`, `-` and `|`; headers centred, cells to the right, as etcdctl does."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"
    yield rule
    yield _row(_centred(header, width) for header, width in zip(headers, widths, strict=True))
    yield rule
    for row in rows:
        yield _row(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    if rows:
        yield rule


def _row(cells: Iterable[str]) -> str:
    return "|" + "|".join(f" {cell} " for cell in cells) + "|"


def _centred(text: str, width: int) -> str:
    gap = width - len(text)
    return " " * (gap // 2) + text + " " * (gap - gap // 2)
