"""`python -m raftkv.testing.sim`."""

import sys

from raftkv.testing.sim.cli import main

sys.exit(main())
