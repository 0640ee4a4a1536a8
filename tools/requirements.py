"""Print what pyproject.toml requires, one requirement a line: run time, dev and build.

With `--runtime` only what an installed program imports.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())
wanted = list(project["project"]["dependencies"])
if "--runtime" not in sys.argv[1:]:
    wanted += [
        *project["build-system"]["requires"],
        *project["project"]["optional-dependencies"]["dev"],
    ]
print("\n".join(wanted))
