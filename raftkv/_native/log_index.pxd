"""Where each entry of the log is: 16 bytes an entry, in the order of indexes."""

from libc.stdint cimport uint32_t, uint64_t

cdef struct Place:
    uint64_t term                  # of the entry
    uint32_t sequence              # the segment's number, its low 32 bits
    uint32_t offset                # of the entry's record in the segment

cdef class LogIndex:
    cdef Place *places             # `capacity` of them; the first entry's is at `head`
    cdef size_t head
    cdef size_t count
    cdef size_t capacity
    cdef readonly uint64_t first   # index of the first entry; where the next one goes if none is

    # Make room for `more` entries, so that as many `push` cannot fail. O(count) now and then.
    cdef int reserve(self, size_t more) except -1

    # Put an entry behind the last one.
    cdef int push(self, uint64_t term, uint64_t sequence, uint64_t offset) except -1

    # Forget entries at and above `index`; below `first`, the next entry is `index`.
    cdef void truncate_from(self, uint64_t index) noexcept

    # Forget entries at and below `index`, which is at most the last one.
    cdef void drop_to(self, uint64_t index) noexcept

    # The place of an entry; NULL where the index has none. Good until the next change.
    cdef const Place *find(self, uint64_t index) noexcept
