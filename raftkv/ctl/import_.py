"""import: move in from an etcd, by its files or while it runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from raftkv.bbolt.file import BboltFile
from raftkv.bbolt.snapshot_file import open_database
from raftkv.client import CompactedError
from raftkv.ctl import output
from raftkv.ctl.command import Command, Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Line
from raftkv.ctl.make_mirror import NAMING_FLAGS, keys_of
from raftkv.ctl.mirror import Mirror, Place
from raftkv.ctl.other_cluster import flags_of, other_client
from raftkv.ctl.progress import mirror_line
from raftkv.ctl.replaced_file import check_replaceable
from raftkv.ctl.snapshot import RESTORE_FLAGS, in_thread

__all__ = ["COMMANDS"]

SAVE_INTERVAL_S = 1.0
"""How often the place of a copy is written down."""
DATABASE_IN_DIRECTORY = Path("member", "snap", "db")


async def import_(context: Context, line: Line) -> None:
    """Import from what --from-file or --from-endpoints names."""
    file, endpoints = line.flags.text("from-file"), line.flags.text("from-endpoints")
    if line.arguments:
        raise bad_arguments("import takes no arguments: name the source by a flag")
    if bool(file) == bool(endpoints):
        raise bad_arguments("import needs --from-file or --from-endpoints, one of them")
    if file:
        await _from_file(Path(file), line)
    else:
        await _from_endpoints(endpoints, context, line)


async def _from_file(path: Path, line: Line) -> None:
    # Imported here: a whole member comes with it, which other verbs need not wait for.
    from raftkv.ctl import restore

    with await in_thread(lambda: _opened(path)) as file:
        await restore.carry_out(file, line.flags)


def _opened(path: Path) -> BboltFile:
    """Open a snapshot, a database, or the database of a data directory."""
    return open_database(path / DATABASE_IN_DIRECTORY if path.is_dir() else path)


async def _from_endpoints(endpoints: str, context: Context, line: Line) -> None:
    flags = line.flags
    resume = ResumeFile(flags.text("resume-file"))
    destination = context.client()
    source = other_client(context, flags, "from", endpoints)
    async with source, destination:
        with mirror_line() as show:

            def moved(mirror: Mirror) -> None:
                resume.note(mirror.place)
                show(mirror)

            mirror = Mirror(
                source,
                destination,
                keys_of(line),
                resume.place,
                txn_ops_max=flags.number("max-txn-ops"),
                moved=moved,
            )
            try:
                await mirror.run(until_level=flags.switch("once"))
            except CompactedError as error:
                raise CommandError(
                    ExitCode.ERROR,
                    f"the source has compacted revision {mirror.place.revision}, from which the"
                    " copy would go on",
                    "Remove the resume file, and what was copied, and begin anew.",
                ) from error
            except ValueError as error:
                raise bad_arguments(str(error)) from error
            finally:
                resume.save(mirror.place)
    output.lines(
        [f"{mirror.copied} keys written; level with the source at revision {mirror.place.revision}"]
    )


class ResumeFile:
    """Where the place of a copy is written down; without a name, nowhere."""

    def __init__(self, name: str) -> None:
        self._path = Path(name) if name else None
        self._saved_at = 0.0
        self.place = Place()
        if self._path is not None:
            check_replaceable(self._path)
        if self._path is None or not self._path.exists():
            return
        try:
            self.place = Place.decode(self._path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise CommandError(ExitCode.IO, f"--resume-file {name}: {error}") from error

    def note(self, place: Place) -> None:
        """Write a place down, unless one was not long ago."""
        if time.monotonic() - self._saved_at >= SAVE_INTERVAL_S:
            self.save(place)

    def save(self, place: Place) -> None:
        """Write a place down: aside, then in one step."""
        if self._path is None:
            return
        draft = self._path.with_name(self._path.name + ".part")
        try:
            with draft.open("w", encoding="utf-8") as file:
                file.write(place.encode() + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._path)
        except OSError as error:
            raise CommandError(ExitCode.IO, f"cannot write {self._path}: {error}") from error
        self._saved_at = time.monotonic()


COMMANDS = (
    Command(
        ("import",),
        "--from-file <file> | --from-endpoints <endpoints>",
        "Move in from an etcd, by its files or while it runs",
        import_,
        "--from-file: a snapshot, the data directory of an etcd that was stopped (not killed: its\n"
        "last writes are in its log only), or the file db in it. Makes a data directory as\n"
        "`snapshot restore` does, once for each new member; keys keep their revisions, leases,\n"
        "users and roles stay.\n\n"
        "--from-endpoints: copies the keys of a cluster that runs to the one at --endpoints, and\n"
        "follows the changes until it is interrupted, or with --once until it is level. With\n"
        "--resume-file it goes on where it stopped. Keys get new revisions; leases, users and\n"
        "roles are not copied.",
        (
            Flag("from-file", "", "snapshot, database or data directory of an etcd"),
            *RESTORE_FLAGS,
            Flag("from-endpoints", "", "members of the cluster to copy from"),
            *flags_of("from", "the source"),
            *NAMING_FLAGS,
            Flag("once", False, "end when the destination is level with the source"),
            Flag("resume-file", "", "file that keeps how far the copy has come"),
        ),
    ),
)
