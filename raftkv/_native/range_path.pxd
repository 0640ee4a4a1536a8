# The way of a range that nothing is special about: from its frame to its answer without a Python
# function, into the list of reads that wait for a round, and out of the store when it is confirmed.

from libc.stdint cimport uint64_t

cdef enum:
    REPORT_BYTES = 65536          # of answers, counted here before the turn's budget hears of them

cdef class RangePath:
    cdef object store             # a native MvccStore
    cdef object node              # knows the leader, the term, and who votes
    cdef object auth              # `stamp`: None while there are no users
    cdef object alarms            # `is_corrupt`
    cdef object member_id
    cdef object reads             # a ReadRounds
    cdef list waiting             # its list of (serve, waiter, request)
    cdef Py_ssize_t waiting_max
    cdef object wake              # to be called when `waiting` begins to fill
    cdef object serve_now         # serve_now(serve, stream, message), for what needs no round
    cdef object budget            # what one turn may answer
    cdef object configuration     # what `votes` was found in
    cdef bint votes               # this member is no learner
    cdef Py_ssize_t unreported    # bytes answered that `budget` was not told of
    cdef object own_serve         # `self.serve`, bound once

    cdef readonly uint64_t count  # requests that went this way
    cdef public object slow_handle
    cdef public object slow_serve

    cdef bint is_open(self) except -1
    cdef bint is_full(self) except -1
