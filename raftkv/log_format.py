"""Write log records as one JSON object a line, in the fields that etcd's logs have."""

import json
import logging
from datetime import UTC, datetime

__all__ = ["JsonFormatter", "fields"]

_OWN_ATTRIBUTES = frozenset(
    vars(logging.LogRecord("", 0, "", 0, "", (), None)) | {"message": 0, "asctime": 0}
)
"""What every record has; the rest came with the call."""


def fields(**values: object) -> dict[str, dict[str, object]]:
    """Make the `extra` of a log call, where a field has the name of a record's own attribute."""
    return {"fields": values}


class JsonFormatter(logging.Formatter):
    """level, ts, caller, msg, then the record's own fields, then an error's traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        names = {logging.WARNING: "warn", logging.CRITICAL: "fatal"}
        level = names.get(record.levelno, record.levelname.lower())
        line: dict[str, object] = {
            "level": level,
            "ts": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            + f"{int(record.msecs):03}Z",
            "caller": f"{record.name}:{record.lineno}",
            "msg": record.getMessage(),
        }
        for key, value in vars(record).items():
            if key not in _OWN_ATTRIBUTES:
                line.update(value if key == "fields" else {key: value})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, separators=(",", ":"))
