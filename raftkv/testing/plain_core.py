"""The Raft core as it is written, not as it is compiled.

`raftkv.raft` is Python that is also compiled, with the types of its `.pxd` files. Both do the same;
only what is not compiled can be altered while it runs, as planted bugs are, and be looked into.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

__all__ = ["VARIABLE", "is_wanted", "use_plain_core"]

VARIABLE = "RAFTKV_PLAIN_CORE"
"""Set to 1 in the environment, tests and simulations use the plain core."""

CORE = "raftkv.raft"


class _SourceFinder(MetaPathFinder):
    """Finds modules of the core by their source."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != CORE or not path:
            return None
        return spec_from_file_location(fullname, Path(path[0]) / f"{name}.py")


def is_wanted() -> bool:
    """Say whether the environment asks for the plain core."""
    return os.environ.get(VARIABLE) == "1"


def use_plain_core() -> None:
    """Have this process import the core's source. RuntimeError where it has the other already."""
    if any(isinstance(one, _SourceFinder) for one in sys.meta_path):
        return
    if any(name.startswith(f"{CORE}.") for name in sys.modules):
        raise RuntimeError("too late: the core is imported already")
    sys.meta_path.insert(0, _SourceFinder())
