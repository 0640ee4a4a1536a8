# Taking back a table that was written in part: its member ended between two steps of a flush.
#
# Each version in history names the one before it of the same key, so history is its own undo log.
# Newest first, each version above `revision` gives the index row back to its predecessor, or takes
# it away where there is none or compaction has dropped it (a tombstone), and goes. The Raft log
# holds what is taken back: it is cut only below what is flushed.

from libc.stdint cimport int64_t
from raftkv._native.state_tree cimport StateTree

# Take back all versions above `revision`, in one transaction; returns how many. Raises StoreError.
cdef int64_t undo_above(StateTree tree, int64_t revision) except -1
