"""`python -m raftkv` is the command `raftkv`."""

import sys

from raftkv.cli import main

sys.exit(main())
