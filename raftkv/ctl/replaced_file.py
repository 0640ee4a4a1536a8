"""Files that a command writes aside and then puts in their place by a rename."""

from __future__ import annotations

from pathlib import Path

from raftkv.ctl.errors import CommandError, ExitCode

__all__ = ["check_replaceable"]


def check_replaceable(path: Path) -> None:
    """Refuse what a rename would destroy: a device, a pipe, a directory. A missing file is well.

    root may rename over /dev/null, and the machine is the worse for it.
    Raises CommandError.
    """
    if path.exists() and not path.is_file():
        raise CommandError(
            ExitCode.INVALID_INPUT,
            f"{path} is no regular file",
            "Name a file: it is written aside, and then takes the place of what is there.",
        )
