"""watch: print events as they happen, run a command for each, or take watches interactively."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from raftkv.client import Client, ClientError, Watch, prefix_range_end
from raftkv.ctl import fields_format, json_format, output, simple_format
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line, parse
from raftkv.ctl.go_text import quoted
from raftkv.ctl.kv import raw
from raftkv.ctl.txn_script import words
from raftkv.pb.etcd import kv_pb2
from raftkv.pb.etcd import rpc_pb2 as pb

FLAGS = (
    Flag("interactive", False, "read `watch ...` and `progress` lines from standard input", "i"),
    Flag("prefix", False, "all keys that begin with the given one"),
    Flag("prev-kv", False, "print the pair as it was before the event, too"),
    Flag("progress-notify", False, "ask for progress when nothing happens for long"),
    Flag("rev", 0, "begin at this revision, which may be in the past"),
)
KEY_VARIABLE = "WATCH_KEY"
RANGE_END_VARIABLE = "WATCH_RANGE_END"
WATCHES_MAX = 1_000
"""Watches of one interactive session."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One watch as its line asks for it."""

    key: bytes
    range_end: bytes
    start_revision: int
    prev_kv: bool
    progress_notify: bool
    command: tuple[str, ...]
    """Run for each event, with the event in its environment; empty: print the event."""


def asked(line: Line, environment: Callable[[str], str | None]) -> Asked:
    """Read the arguments of a watch. The key may come from ETCDCTL_WATCH_KEY."""
    arguments = line.arguments[: len(line.arguments) - len(line.after_dashes)]
    if not arguments:
        key_text = environment(KEY_VARIABLE)
        if key_text is None:
            raise bad_arguments("bad number of arguments")
        end_text = environment(RANGE_END_VARIABLE)
        arguments = (key_text,) if end_text is None else (key_text, end_text)
    if len(arguments) > 2:
        raise bad_arguments("bad number of arguments")
    key = raw(arguments[0])
    range_end = raw(arguments[1]) if len(arguments) > 1 else b""
    if line.flags.switch("prefix"):
        if range_end:
            raise bad_arguments("`range_end` and `--prefix` are mutually exclusive")
        key, range_end = (key, prefix_range_end(key)) if key else (b"\0", b"\0")
    return Asked(
        key,
        range_end,
        line.flags.number("rev"),
        line.flags.switch("prev-kv"),
        line.flags.switch("progress-notify"),
        line.after_dashes,
    )


def from_environment(name: str) -> str | None:
    """Give RAFTCTL_<name>, or else ETCDCTL_<name>."""
    return os.environ.get(f"RAFTCTL_{name}", os.environ.get(f"ETCDCTL_{name}"))


async def watch(context: Context, line: Line) -> None:
    written = context.format(refused=("table",))
    async with context.client() as client:
        if line.flags.switch("interactive"):
            await _interactive(client, written, context.hex)
        else:
            await _follow(client, asked(line, from_environment), written, context.hex)


async def _follow(
    client: Client,
    ask: Asked,
    written: str,
    as_hex: bool,
    progress: asyncio.Event | None = None,
) -> None:
    """Print one watch until the server ends it."""
    source = client.watch(
        ask.key,
        ask.range_end,
        start_revision=ask.start_revision,
        prev_kv=ask.prev_kv,
        progress_notify=ask.progress_notify,
    )
    try:
        async with source as responses:
            asking = asyncio.ensure_future(_ask_progress(responses, progress))
            try:
                async for response in responses:
                    await _print(response, ask.command, written, as_hex)
            finally:
                asking.cancel()
    except ClientError as error:
        print(f"watch was canceled ({error.message})", file=sys.stderr)
        raise CommandError(ExitCode.INTERRUPTED, "watch is canceled by the server") from error


async def _ask_progress(source: Watch, wanted: asyncio.Event | None) -> None:
    """Ask the server for progress each time that `wanted` is set."""
    while wanted is not None:
        await wanted.wait()
        wanted.clear()
        await source.request_progress()


async def _print(
    response: pb.WatchResponse, command: tuple[str, ...], written: str, as_hex: bool
) -> None:
    match written:
        case "json":
            output.as_json(json_format.watch(response))
        case "fields":
            output.lines(fields_format.watch_response(response))
        case "protobuf":
            output.as_protobuf(response)
        case _:
            output.lines(simple_format.watch_response(response, as_hex))
    if command:
        for event in response.events:
            await _execute(command, response.header.revision, event)


async def _execute(command: tuple[str, ...], revision: int, event: kv_pb2.Event) -> None:
    """Run the command for one event, one after the other, as etcdctl does."""
    environment = {
        **os.environ,
        "ETCD_WATCH_REVISION": str(revision),
        "ETCD_WATCH_EVENT_TYPE": quoted(kv_pb2.Event.EventType.Name(event.type).encode()),
        "ETCD_WATCH_KEY": quoted(event.kv.key),
        "ETCD_WATCH_VALUE": quoted(event.kv.value),
    }
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment)
    except OSError as error:
        raise CommandError(ExitCode.ERROR, f"command {command[0]!r} error ({error})") from error
    if await process.wait() != 0:
        raise CommandError(
            ExitCode.ERROR, f"command {command[0]!r} error (exit status {process.returncode})"
        )


async def _interactive(client: Client, written: str, as_hex: bool) -> None:
    """Take watches from standard input; all of them print until it ends or one fails."""
    try:
        async with asyncio.TaskGroup() as watches:
            await _take_lines(client, watches, written, as_hex)
    except ExceptionGroup as group:
        for error in group.exceptions:
            if isinstance(error, CommandError):
                raise error from None
        raise


async def _take_lines(
    client: Client, watches: asyncio.TaskGroup, written: str, as_hex: bool
) -> None:
    """Start what each line asks for. Raises CommandError when the lines end."""
    progress: list[asyncio.Event] = []
    lines = _standard_input_lines()
    while text := await lines.get():
        verb, *rest = words(text) or [""]
        if verb == "progress":
            for event in progress:
                event.set()
        elif verb == "watch" and len(progress) < WATCHES_MAX:
            ask = asked(parse(FLAGS, rest, lambda name: None), from_environment)
            progress.append(asyncio.Event())
            watches.create_task(_follow(client, ask, written, as_hex, progress[-1]))
        elif verb:
            print(f"Invalid command {text.strip()} (only support watch)", file=sys.stderr)
    raise CommandError(ExitCode.INVALID_INPUT, "error reading watch request line: EOF")


def _standard_input_lines() -> asyncio.Queue[str]:
    """Give a queue of the lines of standard input; an empty one is its end.

    A thread that nobody waits for reads them: a blocked read must not hold up the end.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def read() -> None:
        while True:
            text = sys.stdin.readline()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(lines.put_nowait, text)
            if not text:
                return

    threading.Thread(target=read, daemon=True).start()
    return lines


COMMANDS = (
    Command(
        ("watch",),
        "<key> [range_end] [-- command arguments...]",
        "Print the events of keys as they happen",
        watch,
        "Prints the kind of each event, its key and its value on lines of their own:\n\n"
        "  raftctl watch --prefix app/ --rev 1      everything since revision 1, then what comes\n"
        "  raftctl watch app/colour -- ./reload     run a command for each event, which finds it\n"
        "                                           in ETCD_WATCH_{EVENT_TYPE,KEY,VALUE,REVISION}",
        FLAGS,
    ),
)
