"""version."""

from __future__ import annotations

from raftkv.ctl import output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.flag_set import Line
from raftkv.version import ETCD_VERSION, RAFTKV_VERSION


async def version(_context: Context, _line: Line) -> None:
    api = ETCD_VERSION.rpartition(".")[0]
    output.lines([f"raftctl version: {RAFTKV_VERSION}", f"API version: {api}"])


COMMANDS = (Command(("version",), "", "Print the version of raftctl and of the API", version),)
