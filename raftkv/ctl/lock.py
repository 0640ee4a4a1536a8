"""lock and elect: hold something while a command runs, or until a signal."""

from __future__ import annotations

import asyncio
import os

from raftkv.client import Client
from raftkv.client.concurrency import Election, Mutex, Session, SessionExpiredError, observe
from raftkv.ctl import fields_format, output, simple_format
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.kv import raw
from raftkv.ctl.until_signal import first_of, stop_signal
from raftkv.pb.etcd import rpc_pb2 as pb

LOCK_TTL_S = 10
ELECT_TTL_S = 60


async def lock(context: Context, line: Line) -> None:
    if not line.arguments:
        raise bad_arguments("lock takes a lock name argument and an optional command to execute")
    written = context.format(refused=("table",))
    command = line.arguments[1:]
    ttl_s = line.flags.number("ttl")
    async with context.client() as client:
        with stop_signal() as stop:
            async with Session(client, ttl_s) as session:
                mutex = Mutex(session, raw(line.arguments[0]))
                try:
                    if await first_of(mutex.lock(), stop.wait()) != 0:
                        raise CommandError(ExitCode.ERROR, "context canceled")
                except SessionExpiredError as error:
                    raise CommandError(ExitCode.ERROR, str(error)) from error
                try:
                    if command:
                        await _run(command, mutex)
                        return
                    _print(written, await client.get(mutex.key), context)
                    await _until(stop, session, "session expired")
                finally:
                    await mutex.unlock()


async def _run(command: tuple[str, ...], mutex: Mutex) -> None:
    """Run a command that learns of the lock from its environment; fails as the command does."""
    environment = {
        **os.environ,
        "ETCD_LOCK_KEY": os.fsdecode(mutex.key),
        "ETCD_LOCK_REV": str(mutex.revision),
    }
    try:
        process = await asyncio.create_subprocess_exec(*command, env=environment)
    except FileNotFoundError:
        raise CommandError(
            ExitCode.ERROR, f'exec: "{command[0]}": executable file not found in $PATH'
        ) from None
    except OSError as error:
        raise CommandError(ExitCode.ERROR, f"exec: {command[0]}: {error}") from error
    code = await process.wait()
    if code < 0:
        raise CommandError(ExitCode.ERROR, f"signal: {-code}")
    if code:
        raise CommandError(code, f"exit status {code}")


async def _until(stop: asyncio.Event, session: Session, expired: str) -> None:
    """Return at a signal. Raises CommandError when the session ends before."""
    if await first_of(stop.wait(), session.lost.wait()) != 0:
        raise CommandError(
            ExitCode.ERROR, expired, "No member renewed its lease in time: others may hold it now."
        )


def _print(written: str, response: pb.RangeResponse, context: Context) -> None:
    output.response(
        written,
        response,
        lambda: simple_format.range_response(response, context.hex),
        lambda: fields_format.range_response(response),
    )


async def elect(context: Context, line: Line) -> None:
    if not 1 <= len(line.arguments) <= 2:
        raise bad_arguments(
            "elect takes one election name argument and an optional proposal argument"
        )
    name = raw(line.arguments[0])
    written = context.format(refused=("table",))
    listens = line.flags.switch("listen")
    if listens and len(line.arguments) > 1:
        raise bad_arguments("proposal given but -l is set")
    if not listens and len(line.arguments) < 2:
        raise bad_arguments("no proposal argument but -l not set")
    async with context.client() as client:
        with stop_signal() as stop:
            if listens:
                await first_of(_observe(client, name, written, context), stop.wait())
                return
            async with Session(client, ELECT_TTL_S) as session:
                await _campaign(session, name, raw(line.arguments[1]), written, context, stop)


async def _observe(client: Client, name: bytes, written: str, context: Context) -> None:
    async for leader in observe(client, name):
        _print(written, leader, context)


async def _campaign(
    session: Session,
    name: bytes,
    proposal: bytes,
    written: str,
    context: Context,
    stop: asyncio.Event,
) -> None:
    """Lead until a signal, then resign."""
    election = Election(session, name)
    try:
        if await first_of(election.campaign(proposal), stop.wait()) != 0:
            raise CommandError(ExitCode.ERROR, "context canceled")
    except SessionExpiredError as error:
        raise CommandError(ExitCode.ERROR, f"elect: {error}") from error
    try:
        _print(written, await session.client.get(election.key), context)
        await _until(stop, session, "elect: session expired")
    finally:
        await election.resign()


COMMANDS = (
    Command(
        ("lock",),
        "<name> [command arguments...]",
        "Hold a lock while a command runs, or until interrupted",
        lock,
        "Waits for the lock, then prints its key and holds it until a signal, or runs a command,\n"
        "which finds the key in ETCD_LOCK_KEY and a number that grows from holder to holder in\n"
        "ETCD_LOCK_REV. Exits as the command does. Flags of the command go after `--`:\n\n"
        "  raftctl lock backups -- ./back-up --all",
        (Flag("ttl", LOCK_TTL_S, "seconds after which a holder that is not heard of loses it"),),
    ),
    Command(
        ("elect",),
        "<election> [proposal]",
        "Lead an election until interrupted, or listen to one",
        elect,
        "Prints the leader's key and proposal when this client leads; with -l, each time that\n"
        "they change.",
        (Flag("listen", False, "print who leads instead of running for it", "l"),),
    ),
)
