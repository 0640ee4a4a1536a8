"""`python -m raftkv.testing.sim`; with RAFTKV_PLAIN_CORE=1 of the Raft core's source."""

import sys

from raftkv.testing.plain_core import is_wanted, use_plain_core

if is_wanted():
    use_plain_core()

from raftkv.testing.sim.cli import main

sys.exit(main())
