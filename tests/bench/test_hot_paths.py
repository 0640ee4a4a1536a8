"""The micro-benchmarks measure what they say: every path runs, native and plain."""

from __future__ import annotations

import pytest

from bench import hot_paths, instructions
from bench.micro.plain_http2 import PlainServer
from bench.raw_client import END_HEADERS, END_STREAM, frame, headers, message


@pytest.mark.parametrize("name", list(hot_paths.PATHS))
@pytest.mark.parametrize("native", [True, False])
def test_path_runs(name: str, native: bool) -> None:
    """Each path checks by itself that its work was done."""
    with hot_paths.PATHS[name](native) as path:
        for unit in range(3):
            path.run(unit)


def test_both_twins_encode_the_same_entry() -> None:
    commands = [hot_paths.put_request(number) for number in range(5)]
    assert hot_paths.native_seal(commands) == hot_paths.plain_seal(commands)


def test_the_plain_server_answers_whatever_the_cuts() -> None:
    asked: list[tuple[bytes, bytes]] = []

    def answer(path: bytes, request: bytes) -> bytes:
        asked.append((path, request))
        return b"yes"

    data = frame(1, END_HEADERS, 1, headers("/a/B")) + frame(0, END_STREAM, 1, message(b"request"))
    whole = PlainServer(answer).receive(data)
    cut = PlainServer(answer)
    assert b"".join(cut.receive(data[i : i + 1]) for i in range(len(data))) == whole
    assert asked == [(b"/a/B", b"request")] * 2
    assert whole.count(message(b"yes")) == 1


def test_without_valgrind_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert instructions.run_instructions() == 1
    assert "NOTHING WAS COUNTED" in capsys.readouterr().err
