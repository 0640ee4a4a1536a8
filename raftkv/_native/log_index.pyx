# cython: language_level=3
"""See `log_index.pxd`."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    CAPACITY_FIRST = 1024


cdef class LogIndex:
    """See `log_index.pxd`."""

    def __cinit__(self):
        self.first = 1

    def __dealloc__(self):
        free(self.places)

    def __len__(self):
        return self.count

    cdef int reserve(self, size_t more) except -1:
        cdef size_t capacity
        cdef Place *moved
        if self.head + self.count + more <= self.capacity:
            return 0
        # Room for as much again: what is copied now is not copied soon.
        capacity = max(2 * (self.count + more), <size_t>CAPACITY_FIRST)
        moved = <Place *>malloc(capacity * sizeof(Place))
        if moved == NULL:
            raise MemoryError
        if self.count:
            memcpy(moved, self.places + self.head, self.count * sizeof(Place))
        free(self.places)
        self.places = moved
        self.capacity = capacity
        self.head = 0
        return 0

    cdef int push(self, uint64_t term, uint64_t sequence, uint64_t offset) except -1:
        cdef Place *place
        self.reserve(1)
        place = self.places + self.head + self.count
        place.term = term
        place.sequence = <uint32_t>sequence
        place.offset = <uint32_t>offset
        self.count += 1
        return 0

    cdef void truncate_from(self, uint64_t index) noexcept:
        if index <= self.first:
            self.first = index
            self.count = 0
            self.head = 0
        elif index < self.first + self.count:
            self.count = index - self.first

    cdef void drop_to(self, uint64_t index) noexcept:
        cdef size_t dropped
        if index < self.first:
            return
        dropped = min(<size_t>(index - self.first + 1), self.count)
        self.head += dropped
        self.count -= dropped
        self.first = index + 1

    cdef const Place *find(self, uint64_t index) noexcept:
        if index < self.first or index - self.first >= self.count:
            return NULL
        return self.places + self.head + <size_t>(index - self.first)
