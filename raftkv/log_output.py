"""Where log lines go and how they look: `--log-outputs`, `--log-format`, `--log-level`."""

import gzip
import json
import logging
import os
import shutil
import sys
import time
from dataclasses import dataclass
from logging.handlers import RotatingFileHandler
from pathlib import Path

from raftkv.log_format import JsonFormatter

__all__ = ["LEVELS", "LogConfig", "Rotation", "configure_logging", "parse_rotation"]

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "dpanic": logging.CRITICAL,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}

BACKUPS_MAX = 1_000
"""Old files kept where neither their number nor their age is bounded."""

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a log file is put aside. Zero: no bound."""

    size_bytes: int = 100 << 20
    backups: int = 0
    """Old files that are kept."""
    age_s: float = 0.0
    """How old a file that is put aside may become."""
    compress: bool = False


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is logged, and where to."""

    level: str = "info"
    format: str = "json"
    """json or console."""
    outputs: tuple[str, ...] = ("stderr",)
    """stderr, stdout, or paths of files."""
    rotation: Rotation | None = None
    """Of the one file among the outputs; None: it grows."""


def parse_rotation(text: str) -> Rotation:
    """Read etcd's JSON (maxsize in MB, maxage in days, maxbackups, compress). Raises ValueError."""
    try:
        given = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from error
    known = {"maxsize": int, "maxage": int, "maxbackups": int, "localtime": bool, "compress": bool}
    if not isinstance(given, dict):
        raise ValueError("wants an object")
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"knows no {key!r}, only {', '.join(known)}")
        if type(value) is not known[key] or (type(value) is int and value < 0):
            raise ValueError(f"{key} cannot be {value!r}")
    return Rotation(
        size_bytes=(given.get("maxsize", 0) or 100) << 20,
        backups=given.get("maxbackups", 0),
        age_s=given.get("maxage", 0) * DAY_S,
        compress=given.get("compress", False),
    )


def configure_logging(config: LogConfig) -> None:
    """Send everything at or above the level to every output. Raises OSError for a file."""
    formatter = ConsoleFormatter() if config.format == "console" else JsonFormatter()
    handlers = [_handler(output, config.rotation) for output in config.outputs]
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=LEVELS[config.level], handlers=handlers, force=True)


def _handler(output: str, rotation: Rotation | None) -> logging.Handler:
    if output == "stderr":
        return logging.StreamHandler(sys.stderr)
    if output == "stdout":
        return logging.StreamHandler(sys.stdout)
    if rotation is None:
        return logging.FileHandler(output)
    return RotatedFile(output, rotation)


class RotatedFile(RotatingFileHandler):
    """A file that is put aside when it is full: name.1 is the youngest of the old ones."""

    def __init__(self, path: str, rotation: Rotation) -> None:
        super().__init__(
            path,
            maxBytes=rotation.size_bytes,
            backupCount=rotation.backups or BACKUPS_MAX,
        )
        self._age_s = rotation.age_s
        if rotation.compress:
            self.namer = _compressed_name
            self.rotator = _compress

    def doRollover(self) -> None:
        super().doRollover()
        if self._age_s:
            self._drop_old()

    def _drop_old(self) -> None:
        """Remove files that were put aside longer ago than they may be kept."""
        own = Path(self.baseFilename)
        for file in own.parent.glob(f"{own.name}.*"):
            if time.time() - file.stat().st_mtime > self._age_s:
                file.unlink(missing_ok=True)


def _compressed_name(name: str) -> str:
    return f"{name}.gz"


def _compress(source: str, target: str) -> None:
    """Pack the file that was just filled into the youngest of the old ones."""
    with open(source, "rb") as plain, gzip.open(target, "wb") as packed:
        shutil.copyfileobj(plain, packed)
    os.remove(source)


class ConsoleFormatter(logging.Formatter):
    """Time, level, caller, message, and the fields as JSON, divided by tabs, as in etcd."""

    def __init__(self) -> None:
        super().__init__()
        self._json = JsonFormatter()

    def format(self, record: logging.LogRecord) -> str:
        line = json.loads(self._json.format(record))
        error = line.pop("error", None)
        head = [line.pop(key) for key in ("ts", "level", "caller", "msg")]
        text = "\t".join([*head, json.dumps(line)] if line else head)
        return text if error is None else f"{text}\n{error}"
