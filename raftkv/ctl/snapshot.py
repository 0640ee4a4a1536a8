"""snapshot save, status and restore: backups, and moving in from etcd or out to it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from raftkv.bbolt.errors import BboltError
from raftkv.bbolt.snapshot_file import (
    HASH_BYTES,
    HashCheck,
    SnapshotStatus,
    open_snapshot,
    status_of,
)
from raftkv.ctl import output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.go_text import quoted, size
from raftkv.ctl.progress import Advance, bytes_bar
from raftkv.ctl.replaced_file import check_replaceable
from raftkv.storage.directory_sync import sync_directory

__all__ = ["COMMANDS", "MEMBER_FLAGS", "RESTORE_FLAGS", "in_thread"]

Result = TypeVar("Result")

PART_SUFFIX = ".part"
"""Of a snapshot that is not whole yet."""


async def save(context: Context, line: Line) -> None:
    """Write the snapshot aside, check it, and let it appear as a whole."""
    path = _one_file(line, "snapshot save")
    check_replaceable(path)
    if len(context.endpoints) != 1:
        endpoints = " ".join(context.endpoints)
        raise bad_arguments(
            f"snapshot must be requested to one selected node, not multiple [{endpoints}]"
        )
    timeout_s = None
    if "command-timeout" in context.flags.given:
        timeout_s = context.flags.seconds("command-timeout")
    part = path.with_name(path.name + PART_SUFFIX)
    try:
        version = await _receive(context, part, timeout_s)
        part.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise CommandError(ExitCode.IO, f"could not save the snapshot: {error}") from error
    finally:
        with suppress(OSError):
            part.unlink()
    output.lines([f"Snapshot saved at {path}", *([f"Server version {version}"] if version else [])])


async def _receive(context: Context, part: Path, timeout_s: float | None) -> str:
    """Write what the member sends to a file, synced; return the version that it tells.

    The last piece must be the hash of the others, or the file would be one that nobody restores.
    """
    digest, behind, done, version = hashlib.sha256(), b"", 0, ""
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file, bytes_bar("saving") as advance:
        async with context.client() as client:
            async for response in client.snapshot(timeout_s):
                file.write(response.blob)
                digest.update(behind)
                behind = response.blob
                done += len(response.blob)
                version = response.version or version
                advance(done, done + response.remaining_bytes)
        if len(behind) != HASH_BYTES or behind != digest.digest():
            raise CommandError(
                ExitCode.ERROR,
                "the snapshot that arrived does not match its sha256",
                "Nothing was saved; try again, or another member.",
            )
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    return version


async def status(context: Context, line: Line) -> None:
    """Read the whole file and describe it."""
    path = _one_file(line, "snapshot status")
    written = context.format(table_on_terminal=True)

    def read(advance: Advance) -> SnapshotStatus:
        with open_snapshot(path, HashCheck.IF_THERE) as file:
            return status_of(file, advance)

    with bytes_bar("reading") as advance:
        found = await in_thread(lambda: read(advance))
    match written:
        case "json":
            output.lines([_json(found)])
        case "fields":
            output.lines(
                [
                    f'"Hash" : {found.hash}',
                    f'"Revision" : {found.revision}',
                    f'"Keys" : {found.total_keys}',
                    f'"Size" : {found.total_size}',
                    f'"Version" : {quoted(found.version.encode())}',
                ]
            )
        case "table":
            headers = ("HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "STORAGE VERSION")
            output.table(headers, [_row(found)], context.is_terminal)
        case _:
            output.lines([", ".join(_row(found))])


def _row(found: SnapshotStatus) -> tuple[str, ...]:
    return (
        f"{found.hash:x}",
        str(found.revision),
        str(found.total_keys),
        size(found.total_size),
        found.version,
    )


def _json(found: SnapshotStatus) -> str:
    fields = {
        "hash": found.hash,
        "revision": found.revision,
        "totalKey": found.total_keys,
        "totalSize": found.total_size,
        "version": found.version,
    }
    return json.dumps(fields, separators=(",", ":"))


async def restore_file(_context: Context, line: Line) -> None:
    """Make the data directory of one member of a new cluster."""
    # Imported here: a whole member comes with it, which other verbs need not wait for.
    from raftkv.ctl import restore

    path = _one_file(line, "snapshot restore")
    skip = line.flags.switch("skip-hash-check")
    check = HashCheck.SKIPPED if skip else HashCheck.REQUIRED
    with bytes_bar("checking") as advance:
        file = await in_thread(lambda: open_snapshot(path, check, advance))
    with file:
        await restore.carry_out(file, line.flags)


async def in_thread(work: Callable[[], Result]) -> Result:
    """Run what reads and writes files; its failures become the command's."""
    try:
        return await asyncio.to_thread(work)
    except BboltError as error:
        raise CommandError(ExitCode.ERROR, str(error)) from error
    except OSError as error:
        raise CommandError(ExitCode.IO, str(error)) from error


def _one_file(line: Line, verb: str) -> Path:
    if len(line.arguments) != 1 or not line.arguments[0]:
        raise bad_arguments(f"{verb} requires exactly one argument, the file")
    return Path(line.arguments[0])


MEMBER_FLAGS = (
    Flag("name", "default", "name of the member"),
    Flag("initial-cluster", "", "name=url[,name=url...] of all members of the new cluster"),
    Flag("initial-cluster-token", "etcd-cluster", "distinguishes the new cluster from others"),
    Flag("initial-advertise-peer-urls", "http://localhost:2380", "the member's peer URL"),
    Flag("data-dir", "", "directory to make (default: ${name}.raftkv)"),
)
RESTORE_FLAGS = (
    *MEMBER_FLAGS,
    Flag("bump-revision", 0, "raise the revision by so much, so that clients' caches notice"),
    Flag("mark-compacted", False, "with --bump-revision: all before it counts as compacted"),
    Flag("wal-dir", "", "accepted for etcdutl's sake: the log is in the data directory"),
)

COMMANDS = (
    Command(
        ("snapshot", "save"),
        "<filename>",
        "Save a snapshot of one member to a file",
        save,
        "The file is a bbolt database with its SHA-256 behind it, as etcd's own: etcdutl restores\n"
        "from it too. It appears when it is whole, checked and synced. Name one endpoint.",
    ),
    Command(
        ("snapshot", "status"),
        "<filename>",
        "Describe a snapshot file",
        status,
        "Reads all of it, and compares its SHA-256 where it has one. The simple format's columns:\n"
        "hash, revision, rows, size, version of the storage.",
    ),
    Command(
        ("snapshot", "restore"),
        "<filename>",
        "Make a member's data directory from a snapshot of raftkv or of etcd",
        restore_file,
        "Run it once for each member of the new cluster, with that member's name and the same\n"
        "file. Keys keep revisions and versions, leases their ids and TTLs, users and roles stay;\n"
        "members and alarms of the old cluster do not.",
        (
            *RESTORE_FLAGS,
            Flag("skip-hash-check", False, "take a file without its hash, or with a wrong one"),
        ),
    ),
)
