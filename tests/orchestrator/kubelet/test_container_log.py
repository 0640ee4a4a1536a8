"""Logs: records become lines, options choose among them, following ends with the container."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from orchestrator.kubelet.container_log import LogOptions, LogParser, read_log
from orchestrator.kubelet.server import log_options
from orchestrator.runtime.log_writer import RECORD_BYTES_MAX, format_records

NOW = datetime(2026, 1, 1, 0, 1, 0, tzinfo=UTC)
RECORDS = (
    b"2026-01-01T00:00:01.000000000Z stdout F one\n"
    b"2026-01-01T00:00:02.000000000Z stderr P tw\n"
    b"2026-01-01T00:00:02.000000000Z stderr F o\n"
    b"2026-01-01T00:00:03.000000000Z stdout F three\n"
)


async def check(path: Path, **options: object) -> bytes:
    wanted = LogOptions(**options)  # type: ignore[arg-type]
    return b"".join([piece async for piece in read_log(path, wanted, lambda: False)])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_bytes(RECORDS)
    return path


async def test_pieces_are_joined(log: Path) -> None:
    assert await check(log) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("count", "lines"), [(0, b""), (1, b"three\n"), (2, b"two\nthree\n"), (9, b"one\ntwo\nthree\n")]
)
async def test_tail_counts_lines_not_records(log: Path, count: int, lines: bytes) -> None:
    assert await check(log, tail_lines=count) == lines


async def test_since_and_limit_and_timestamps(log: Path) -> None:
    since = datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)
    assert await check(log, since=since) == b"two\nthree\n"
    assert await check(log, limit_bytes=5) == b"one\nt"
    stamped = await check(log, tail_lines=1, timestamps=True)
    assert stamped == b"2026-01-01T00:00:03.000000000Z three\n"


async def test_following_goes_on_past_a_rotation_until_the_end(log: Path) -> None:
    alive = True
    got: list[bytes] = []

    async def follow() -> None:
        async for piece in read_log(log, LogOptions(follow=True), lambda: alive):
            got.append(piece)

    task = asyncio.create_task(follow())
    async with asyncio.timeout(5):
        while b"".join(got) != b"one\ntwo\nthree\n":
            await asyncio.sleep(0.01)
        log.rename(log.with_name("0.log.old"))
        log.write_bytes(b"2026-01-01T00:00:04.000000000Z stdout F four\n")
        alive = False
        await task
    assert b"".join(got).endswith(b"four\n")


@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_of_any_size_parse_the_same(size: int) -> None:
    parser = LogParser(LogOptions())
    pieces = [RECORDS[i : i + size] for i in range(0, len(RECORDS), size)]
    got = b"".join(out for piece in pieces for out in parser.feed(piece))
    assert got == b"one\ntwo\nthree\n"


def test_what_is_written_can_be_read_whatever_its_length() -> None:
    text = b"short\n\n" + b"x" * (2 * RECORD_BYTES_MAX + 5) + b"\nunfinished"
    records, rest = format_records("stdout", text, NOW)
    assert rest == b"unfinished"
    assert max(map(len, records.splitlines())) < RECORD_BYTES_MAX + 64
    assert b"".join(LogParser(LogOptions()).feed(records)) + rest == text


def test_options_are_read_and_bad_ones_refused() -> None:
    options = log_options({"follow": "true", "tailLines": "0", "sinceSeconds": "60"}, NOW)
    assert options == LogOptions(True, False, 0, None, datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(web.HTTPBadRequest):
        log_options({"tailLines": "many"}, NOW)
