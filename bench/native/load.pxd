"""The Python face of a load."""

from libc.stdint cimport int64_t

from bench.native.load_loop cimport State, Tally


cdef class Load:
    cdef State state
    cdef int64_t[::1] table_view   # holds the table's memory
    cdef list keep                 # Python objects whose bytes the templates point to
    cdef bint opened
    cdef bint ran

    cdef Tally *tally_at(self, int operation) except NULL
    cdef int release(self) except -1
