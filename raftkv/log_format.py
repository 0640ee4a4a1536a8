"""Write log records as one JSON object a line, in the fields that etcd's logs have."""

import json
import logging
import sys
from datetime import UTC, datetime

__all__ = ["JsonFormatter", "configure_logging", "fields"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING}


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Make the `extra` of a log call: `log.info("became leader", extra=fields(term=7))`."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """level, ts, caller, msg, then the record's own fields, then an error's traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        level = "warn" if record.levelno == logging.WARNING else record.levelname.lower()
        line: dict[str, object] = {
            "level": level,
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "caller": f"{record.name}:{record.lineno}",
            "msg": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: str) -> None:
    """Send everything at or above `level` (debug, info, warn, error) to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=_LEVELS.get(level, logging.ERROR), handlers=[handler], force=True)
