# An LMDB file comes into being at once or not at all, and is not read where it was cut off.

from raftkv._native.lmdb cimport MDB_env

# Make `directory`/data.mdb with empty trees of these names unless there is one, and make the names
# of file and directory survive a power cut. 0, or the LMDB status or errno of what failed.
cdef int create_lmdb(str directory, tuple trees, size_t map_size) except? -1

# Give LMDB's lock file its blocks: it writes there through a mapping, and on a full disk a missing
# block would kill the process. OSError when there is no room.
cdef int reserve_lock(str file) except -1

# Bytes that `file` lacks of what its environment says it has; 0: it is whole, but for free pages,
# which are made up for.
cdef size_t missing_bytes(MDB_env *env, str file) except? 1
