"""A hash table from stream ids, which are never 0, to pointers."""

from libc.stdint cimport uint32_t

cdef struct IdSlot:
    uint32_t id                      # 0: empty
    void *value

cdef struct IdTable:                 # all zero: empty, without memory
    IdSlot *slots                    # PyMem; as many as 2 ** bits
    int bits
    size_t count

# Add an id that is not there.
cdef int table_add(IdTable *table, uint32_t id, void *value) except -1
# Forget an id; harmless where it is not there.
cdef void table_remove(IdTable *table, uint32_t id) noexcept
# NULL where it is not there.
cdef void *table_find(const IdTable *table, uint32_t id) noexcept
cdef void table_free(IdTable *table) noexcept
