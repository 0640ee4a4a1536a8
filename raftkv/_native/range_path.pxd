# The way of a range that nothing is special about: into the list of reads that wait for a round,
# and out of the store when that is confirmed.

from raftkv._native.kv_path cimport KvPath

cdef enum:
    REPORT_BYTES = 65536          # of answers, counted here before the turn's budget hears of them

cdef class RangePath(KvPath):
    cdef object store             # a native MvccStore
    cdef object reads             # a ReadRounds
    cdef list waiting             # its list of (serve, waiter, request)
    cdef Py_ssize_t waiting_max
    cdef object wake              # to be called when `waiting` begins to fill
    cdef object serve_now         # serve_now(serve, stream, message), for what needs no round
    cdef object budget            # what one turn may answer
    cdef Py_ssize_t unreported    # bytes answered that `budget` was not told of
    cdef object slow_serve        # what `serve` leaves to others
    cdef object own_serve         # `self.serve`, bound once

    cdef bint is_full(self) except -1
