"""The table, for people and for RESULTS.md."""

from __future__ import annotations

import platform
import subprocess
from datetime import date

from bench.suite import Row


def markdown(rows: list[Row], members: int, command: str) -> str:
    """A section of RESULTS.md: what was run, where, and the medians with their ratio."""
    lines = [
        f"## {members} member{'s' if members > 1 else ''}, {date.today().isoformat()}",
        "",
        f"`{command}` at commit {commit()}, {platform.machine()}, {cores()} cores, "
        f"Linux {platform.release().split('-')[0]}; 16 B key, 256 B value, one key; "
        "h2load on the same machine.",
        "",
        "| case | raftkv | etcd | ratio | raftkv mean | etcd mean |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, theirs = row.median_rate("raftkv"), row.median_rate("etcd")
        lines.append(
            f"| {row.case.name} | {ours:,.0f}/s | {theirs:,.0f}/s | {ours / theirs:.2f} × "
            f"| {row.median_ms('raftkv'):.2f} ms | {row.median_ms('etcd'):.2f} ms |"
        )
    return "\n".join(lines) + "\n"


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def cores() -> int:
    import os

    return len(os.sched_getaffinity(0))
