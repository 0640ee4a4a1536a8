"""Log lines go where --log-outputs says, in the form that --log-format says."""

import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftkv.log_format import fields
from raftkv.log_output import LogConfig, Rotation, configure_logging, parse_rotation

log = logging.getLogger("raftkv.example")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give the root logger back as it was, files closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = handlers, level


def test_json_lines_have_etcds_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogConfig(outputs=("stderr", "stdout", str(tmp_path / "log"))))
    log.warning("slow", extra=fields(took="3ms"))
    log.debug("not told")
    shown = capsys.readouterr()
    assert shown.out == shown.err == (tmp_path / "log").read_text()
    assert shown.out.startswith('{"level":"warn","ts":"'), "who greps etcd's lines finds these"
    line = json.loads(shown.out)
    assert list(line) == ["level", "ts", "caller", "msg", "took"]
    assert (line["level"], line["msg"], line["took"]) == ("warn", "slow", "3ms")
    assert line["ts"].endswith("Z")
    assert len(line["ts"]) == len("2026-11-23T07:45:44.893Z")


def test_the_console_format_divides_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogConfig(format="console"))
    log.info("elected", extra=fields(term=3))
    log.info("plain")
    elected, plain = capsys.readouterr().err.splitlines()
    assert elected.split("\t")[1:] == [
        "info",
        elected.split("\t")[2],
        "elected",
        '{"term": 3}',
    ]
    assert plain.endswith("\tplain")


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogConfig(level="error"))
    log.warning("hidden")
    log.error("shown")
    log.critical("last")
    levels = [json.loads(line)["level"] for line in capsys.readouterr().err.splitlines()]
    assert levels == ["error", "fatal"]


@pytest.mark.parametrize("compress", [False, True])
def test_a_full_file_is_put_aside(tmp_path: Path, compress: bool) -> None:
    rotation = Rotation(size_bytes=2000, backups=2, compress=compress)
    configure_logging(LogConfig(outputs=(str(tmp_path / "log"),), rotation=rotation))
    for number in range(100):
        log.info("line", extra=fields(number=number))
    ending = ".gz" if compress else ""
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "log",
        f"log.1{ending}",
        f"log.2{ending}",
    ]
    youngest = (tmp_path / f"log.1{ending}").read_bytes()
    lines = (gzip.decompress(youngest) if compress else youngest).splitlines()
    current = (tmp_path / "log").read_text().splitlines()
    assert json.loads(lines[-1])["number"] + 1 == json.loads(current[0])["number"]


def test_rotation_is_read_as_etcd_writes_it() -> None:
    text = '{"maxsize": 5, "maxage": 2, "maxbackups": 3, "localtime": false, "compress": true}'
    assert parse_rotation(text) == Rotation(5 << 20, 3, 2 * 86400.0, True)
    assert parse_rotation("") == Rotation()


@pytest.mark.parametrize("text", ["{", "[]", '{"size": 1}', '{"maxsize": "1"}', '{"maxage": -1}'])
def test_a_rotation_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|object|knows no|cannot be"):
        parse_rotation(text)
