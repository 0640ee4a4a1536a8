"""raftctl's entry: find the verb, read the flags, run it, tell what went wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from raftkv.client import ClientError
from raftkv.ctl import (
    auth,
    check,
    completion,
    endpoint,
    endpoint_status,
    help_text,
    import_,
    kv,
    lease,
    lock,
    maintenance,
    make_mirror,
    member,
    output,
    role,
    snapshot,
    txn,
    user,
    version,
    watch,
)
from raftkv.ctl.command import GLOBAL_FLAGS, Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, explain
from raftkv.ctl.flag_set import Line, parse

COMMANDS: tuple[Command, ...] = (
    *kv.COMMANDS,
    *txn.COMMANDS,
    *watch.COMMANDS,
    *lease.COMMANDS,
    *endpoint.COMMANDS,
    *endpoint_status.COMMANDS,
    *member.COMMANDS,
    *maintenance.COMMANDS,
    *lock.COMMANDS,
    *auth.COMMANDS,
    *user.COMMANDS,
    *role.COMMANDS,
    *snapshot.COMMANDS,
    *make_mirror.COMMANDS,
    *import_.COMMANDS,
    *check.COMMANDS,
    *completion.commands_for(lambda: COMMANDS),
    *version.COMMANDS,
)

INTERRUPTED_BY_SIGNAL = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run raftctl; ends with SystemExit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.exit(run(words))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_BY_SIGNAL)
    except BrokenPipeError:
        # The reader has gone; nothing more can be said to it, not even by the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.IO)


def run(words: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    try:
        found = find(words)
        if isinstance(found, str):
            output.lines([found])
            return ExitCode.SUCCESS
        command, rest = found
        line = parse((*command.flags, *GLOBAL_FLAGS), rest, from_environment)
        if line.flags.switch("help"):
            output.lines([help_text.of_command(command)])
            return ExitCode.SUCCESS
        asyncio.run(_carry_out(command, Context(line.flags), line))
    except CommandError as error:
        return _tell(error)
    return ExitCode.SUCCESS


async def _carry_out(command: Command, context: Context, line: Line) -> None:
    try:
        await command.run(context, line)
    except ClientError as error:
        raise explain(error, context.endpoints) from error


def _tell(error: CommandError) -> int:
    if error.text:
        print(f"Error: {error.text}", file=sys.stderr)
    if error.hint:
        print(error.hint, file=sys.stderr)
    return error.code


def find(words: Sequence[str]) -> tuple[Command, list[str]] | str:
    """Find the command among the words; give it with the other words, or a help text.

    Flags may stand before the verb, so its words are the first that belong to no flag.
    """
    verbs = _verb_positions(words)
    if not verbs:
        return help_text.overview(COMMANDS)
    first = words[verbs[0]]
    for count in (2, 1):
        path = tuple(words[at] for at in verbs[:count])
        for command in COMMANDS:
            if command.path == path:
                taken = set(verbs[:count])
                return command, [word for at, word in enumerate(words) if at not in taken]
    if first == "help":
        return find([word for at, word in enumerate(words) if at != verbs[0]] + ["--help"])
    group = [command for command in COMMANDS if command.path[0] == first]
    if group and len(verbs) == 1:
        return help_text.of_group(first, group)
    name = " ".join(words[at] for at in verbs[: 2 if group else 1])
    if group:
        reason = f'"{name}" is not a command of raftctl yet'
    else:
        reason = f'unknown command "{name}" for "raftctl"'
    raise CommandError(ExitCode.ERROR, reason, "Run 'raftctl --help' for usage.")


def _verb_positions(words: Sequence[str]) -> list[int]:
    """Give the positions of the words that are neither flags nor their values, up to two."""
    with_value = {f"--{flag.name}" for flag in GLOBAL_FLAGS if not isinstance(flag.default, bool)}
    with_value |= {f"-{f.short}" for f in GLOBAL_FLAGS if f.short and f.short != "h"}
    found: list[int] = []
    at = 0
    while at < len(words) and len(found) < 2 and words[at] != "--":
        if words[at] in with_value:
            at += 2
            continue
        if not words[at].startswith("-"):
            found.append(at)
        at += 1
    return found


def from_environment(name: str) -> str | None:
    """Give RAFTCTL_<NAME>, or else ETCDCTL_<NAME>, of a flag; verbs' own flags have none."""
    if name not in {flag.name for flag in GLOBAL_FLAGS} or name == "help":
        return None
    variable = name.upper().replace("-", "_")
    return os.environ.get(f"RAFTCTL_{variable}", os.environ.get(f"ETCDCTL_{variable}"))


if __name__ == "__main__":
    main()
