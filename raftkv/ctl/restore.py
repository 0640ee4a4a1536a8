"""Carrying out a restore: what the flags say becomes a member's data directory."""

from __future__ import annotations

from raftkv.bbolt.file import BboltFile
from raftkv.config import Config, build_config
from raftkv.ctl import output
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flags
from raftkv.ctl.progress import bytes_bar
from raftkv.ctl.snapshot import MEMBER_FLAGS, in_thread
from raftkv.flags import FlagError, defaults
from raftkv.server.restore import Restored, RestoreError, restore
from raftkv.storage.errors import StorageError

__all__ = ["carry_out"]


async def carry_out(file: BboltFile, flags: Flags) -> None:
    """Restore from an open file as RESTORE_FLAGS say, and tell what was done."""
    bump, mark = flags.number("bump-revision"), flags.switch("mark-compacted")
    if bump < 0:
        raise bad_arguments("--bump-revision must not be negative")
    if bump and not mark:
        raise bad_arguments("--mark-compacted required if --bump-revision")
    if mark and not bump:
        raise bad_arguments("--bump-revision required if --mark-compacted")
    config = _config(flags)
    with bytes_bar("restoring") as advance:
        try:
            made = await in_thread(
                lambda: restore(
                    file, config, bump_revision=bump, mark_compacted=mark, progress=advance
                )
            )
        except (RestoreError, StorageError) as error:
            raise CommandError(ExitCode.ERROR, str(error)) from error
    output.lines(_described(made, config))


def _described(made: Restored, config: Config) -> list[str]:
    members = ",".join(
        f"{name}={url}" for name, urls in config.cluster.members.items() for url in urls
    )
    return [
        f"Restored {made.versions} versions of keys and {made.leases} leases, at revision"
        f" {made.revision}, for member {made.member_id:x} of cluster {made.cluster_id:x}",
        "Start it with:",
        f"  --name={config.name} --data-dir={config.data_dir}",
        f"  --initial-cluster={members} --initial-cluster-token={config.cluster.token}",
        f"  --initial-advertise-peer-urls={','.join(config.cluster.members[config.name])}",
    ]


def _config(flags: Flags) -> Config:
    names = (flag.name for flag in MEMBER_FLAGS)
    given = {name: flags.text(name) for name in names if name in flags.given}
    try:
        return build_config({**defaults(), **given})
    except FlagError as error:
        raise bad_arguments(str(error)) from error
