"""What --help prints."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from raftkv.ctl.command import GLOBAL_FLAGS, Command
from raftkv.ctl.flag_set import Flag

WIDTH = 100

EXIT_CODES = """\
Exit codes:
  0  done                  1  the request failed       2  no connection
  3  unusable input        4  unsupported option       5  ended by the server
  6  file not readable     128  wrong arguments"""


def overview(commands: Sequence[Command]) -> str:
    """List the verbs, the global flags and the exit codes."""
    width = max(len(" ".join(command.path)) for command in commands)
    verbs = "\n".join(
        f"  {' '.join(command.path):<{width}}  {command.summary}"
        for command in sorted(commands, key=lambda command: command.path)
    )
    return (
        "raftctl: read, write and watch keys of raftkv, or of any etcd v3 cluster\n\n"
        "Usage: raftctl [flags] <command> [arguments]\n\n"
        f"Commands:\n{verbs}\n\n"
        f"Global flags:\n{_flags(GLOBAL_FLAGS)}\n\n"
        "Every flag can be set in the environment as RAFTCTL_<NAME> or ETCDCTL_<NAME>, such as\n"
        "ETCDCTL_ENDPOINTS; the command line wins, then RAFTCTL_.\n\n"
        f"{EXIT_CODES}\n\n"
        "`raftctl <command> --help` describes one command."
    )


def options() -> str:
    """List the global flags."""
    return f"The following options can be passed to any command:\n\n{_flags(GLOBAL_FLAGS)}"


def of_group(name: str, commands: Sequence[Command]) -> str:
    """List the subcommands of a group such as `lease`."""
    width = max(len(" ".join(command.path)) for command in commands)
    verbs = "\n".join(
        f"  {' '.join(command.path):<{width}}  {command.summary}" for command in commands
    )
    return f"Usage: raftctl {name} <subcommand> [flags]\n\nSubcommands:\n{verbs}"


def of_command(command: Command) -> str:
    """Describe one verb with its own flags; the global ones are in the overview."""
    parts = [
        f"{command.summary}.",
        f"Usage: raftctl {' '.join(command.path)} [flags] {command.usage}".rstrip(),
    ]
    if command.description:
        parts.append(command.description)
    if command.flags:
        parts.append(f"Flags:\n{_flags(command.flags)}")
    parts.append("`raftctl --help` lists the global flags (--endpoints, -w, --cacert, ...).")
    return "\n\n".join(parts)


def _flags(flags: Sequence[Flag]) -> str:
    shown = [flag for flag in flags if not flag.refused]
    width = max(len(flag.name) for flag in shown)
    return "\n".join(
        textwrap.fill(
            f"  {f'-{flag.short},' if flag.short else '   '} --{flag.name:<{width}}  {flag.help}"
            + _default(flag),
            WIDTH,
            subsequent_indent=" " * (width + 10),
            break_on_hyphens=False,
        )
        for flag in shown
    )


def _default(flag: Flag) -> str:
    match flag.default:
        case bool() | "" | "0":
            return ""
        case float() as seconds:
            return f" (default {seconds:g}s)"
        case 0:
            return ""
        case value:
            return f" (default {value})"
