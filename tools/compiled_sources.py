"""What the compiled modules were made of, so that no test runs a module older than its source.

Times would not do: a checkout of another commit and back makes files new that are the same.
"""

import hashlib
import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
NOTE = REPOSITORY / "build" / "compiled.json"
CORE_MODULES = (
    "log",
    "messages",
    "node",
    "progress",
    "quorum",
    "read_index",
    "ready",
    "replication",
    "state",
)
"""Modules of `raftkv.raft` that are compiled as they are, with types where a .pxd is beside one."""
PATTERNS = (
    "raftkv/_native/*.pyx",
    "raftkv/_native/*.pxd",
    "raftkv/raft/*.pxd",
    *(f"raftkv/raft/{name}.py" for name in CORE_MODULES),
)


def digests() -> dict[str, str]:
    """Return the path of each source of a compiled module, and its SHA-256."""
    return {
        str(path.relative_to(REPOSITORY)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(path for pattern in PATTERNS for path in REPOSITORY.glob(pattern))
    }


def write_down() -> None:
    """Note what has just been compiled."""
    NOTE.parent.mkdir(exist_ok=True)
    NOTE.write_text(json.dumps(digests(), indent=1) + "\n")


def changed() -> list[str]:
    """Return the sources that are not as they were compiled; all of them where that is unknown."""
    try:
        noted = json.loads(NOTE.read_text())
    except (OSError, ValueError):
        noted = {}
    return [path for path, digest in digests().items() if noted.get(path) != digest]
