"""make-mirror: keep the keys of this cluster in another one, for as long as it runs."""

from __future__ import annotations

import asyncio

from raftkv.ctl import output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.mirror import Keys, Mirror, Place
from raftkv.ctl.other_cluster import flags_of, other_client
from raftkv.ctl.progress import mirror_line

__all__ = ["COMMANDS", "NAMING_FLAGS", "keys_of"]

TOTAL_INTERVAL_S = 30.0
"""How often the number of keys is printed, as etcdctl does."""


async def make_mirror(context: Context, line: Line) -> None:
    """Copy, then follow until interrupted."""
    flags = line.flags
    endpoints = flags.text("dest-endpoints")
    if bool(endpoints) + len(line.arguments) != 1:
        raise bad_arguments("make-mirror takes one destination argument, or --dest-endpoints")
    keys = keys_of(line)
    revision = flags.number("rev")
    if revision < 0:
        raise bad_arguments("--rev must not be negative")
    place = Place(revision=revision - 1, next_key=None) if revision > 1 else Place()
    source = context.client()
    destination = other_client(context, flags, "dest", endpoints or line.arguments[0])
    async with source, destination:
        with mirror_line() as show:
            mirror = Mirror(
                source,
                destination,
                keys,
                place,
                txn_ops_max=flags.number("max-txn-ops"),
                moved=show,
            )
            telling = asyncio.create_task(_tell_total(mirror))
            try:
                await mirror.run(until_level=False)
            finally:
                telling.cancel()


async def _tell_total(mirror: Mirror) -> None:
    while True:
        await asyncio.sleep(TOTAL_INTERVAL_S)
        output.lines([str(mirror.copied)])


def keys_of(line: Line) -> Keys:
    """Read which keys are copied and how they are renamed."""
    flags = line.flags
    prefix, to_prefix = (
        flags.text(name).encode("utf-8", "surrogateescape") for name in ("prefix", "dest-prefix")
    )
    if not flags.switch("no-dest-prefix"):
        return Keys(prefix, to_prefix or prefix)
    if to_prefix:
        raise CommandError(
            ExitCode.BAD_ARGUMENTS,
            "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one",
        )
    return Keys(prefix, b"")


NAMING_FLAGS = (
    Flag("prefix", "", "copy only keys that begin with this"),
    Flag("dest-prefix", "", "what they begin with at the destination instead"),
    Flag("no-dest-prefix", False, "take the prefix off at the destination"),
    Flag("max-txn-ops", 128, "writes in one transaction: the destination's --max-txn-ops"),
)

COMMANDS = (
    Command(
        ("make-mirror",),
        "<destination>",
        "Keep the keys of this cluster in another one",
        make_mirror,
        "Copies all keys as of one revision, then follows the changes until it is interrupted.\n"
        "Prints the number of keys written every 30 seconds. Keys that are at the destination\n"
        "only are left alone; leases are not copied. `raftctl import` can go on after a stop.",
        (
            *NAMING_FLAGS,
            Flag("rev", 0, "copy nothing first, and follow from this revision on"),
            Flag("dest-endpoints", "", "the destination's members, separated by commas"),
            *flags_of("dest", "the destination"),
        ),
    ),
)
