"""Streams by id: see `http2_id_table.pxd`.

Open addressing with linear probing, between an eighth and half full; what follows a removed slot
moves up. Ids are chosen by clients, so they are spread by a multiplication with a number no client
knows.
"""

import secrets

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    BITS_AT_FIRST = 3

cdef uint64_t spread = secrets.randbits(64) | 1


cdef inline size_t place_of(const IdTable *table, uint32_t id) noexcept:
    return <size_t>((id * spread) >> (64 - table.bits))


cdef inline void put(IdTable *table, uint32_t id, void *value) noexcept:
    cdef size_t mask = (<size_t>1 << table.bits) - 1
    cdef size_t at = place_of(table, id)
    while table.slots[at].id != 0:
        at = (at + 1) & mask
    table.slots[at].id = id
    table.slots[at].value = value


cdef bint resize(IdTable *table, int bits) noexcept:
    """Move all to another number of slots; False, with nothing changed, without memory."""
    cdef IdTable other
    cdef size_t i
    other.bits = bits
    other.count = table.count
    other.slots = <IdSlot *>PyMem_Calloc(<size_t>1 << bits, sizeof(IdSlot))
    if other.slots == NULL:
        return False
    if table.slots != NULL:
        for i in range(<size_t>1 << table.bits):
            if table.slots[i].id != 0:
                put(&other, table.slots[i].id, table.slots[i].value)
        PyMem_Free(table.slots)
    table[0] = other
    return True


cdef int table_add(IdTable *table, uint32_t id, void *value) except -1:
    if table.slots == NULL or table.count * 2 >= <size_t>1 << table.bits:
        if not resize(table, BITS_AT_FIRST if table.slots == NULL else table.bits + 1):
            raise MemoryError
    put(table, id, value)
    table.count += 1
    return 0


cdef void *table_find(const IdTable *table, uint32_t id) noexcept:
    cdef size_t mask, at
    if table.slots == NULL:
        return NULL
    mask = (<size_t>1 << table.bits) - 1
    at = place_of(table, id)
    while table.slots[at].id != 0:
        if table.slots[at].id == id:
            return table.slots[at].value
        at = (at + 1) & mask
    return NULL


cdef void table_remove(IdTable *table, uint32_t id) noexcept:
    cdef size_t mask, at, following, home
    if table.slots == NULL:
        return
    mask = (<size_t>1 << table.bits) - 1
    at = place_of(table, id)
    while table.slots[at].id != id:
        if table.slots[at].id == 0:
            return
        at = (at + 1) & mask
    table.count -= 1
    following = at
    while True:
        following = (following + 1) & mask
        if table.slots[following].id == 0:
            break
        home = place_of(table, table.slots[following].id)
        # It may move up unless its home lies behind the gap.
        if ((following - home) & mask) >= ((following - at) & mask):
            table.slots[at] = table.slots[following]
            at = following
    table.slots[at].id = 0
    table.slots[at].value = NULL
    if table.bits > BITS_AT_FIRST and table.count * 8 < <size_t>1 << table.bits:
        resize(table, table.bits - 1)


cdef void table_free(IdTable *table) noexcept:
    PyMem_Free(table.slots)
    table.slots = NULL
    table.bits = 0
    table.count = 0
