"""hostPath volumes: check, or create, what the pod names on the node."""

from __future__ import annotations

import stat
from pathlib import Path

from orchestrator.api.json_object import JsonObject

_CHECKS = {
    "Directory": (stat.S_ISDIR, "a directory"),
    "File": (stat.S_ISREG, "a file"),
    "Socket": (stat.S_ISSOCK, "a socket"),
    "CharDevice": (stat.S_ISCHR, "a character device"),
    "BlockDevice": (stat.S_ISBLK, "a block device"),
}


class HostPathError(OSError):
    """What is at the path is not what the volume's type asks for."""


def check_host_path(source: JsonObject) -> Path:
    """Return the path once it is what `hostPath.type` says; the ...OrCreate types create it."""
    path, kind = Path(source["path"]), source.get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
        kind = "Directory"
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True)
        kind = "File"
    if not kind:
        return path
    is_kind, words = _CHECKS[kind]
    if not path.exists() or not is_kind(path.stat().st_mode):
        raise HostPathError(f"hostPath type check failed: {path} is not {words}")
    return path
