# Types for the compiled `read_index.py`.

cdef class ReadQueue:
    cdef public dict _answered
    cdef public list _gathered
    cdef public object _rounds
    cdef public long long _waiting, _waiting_max
    cdef public unsigned long long round

    cpdef bint is_full(self) except -1
    cpdef bint has_gathered(self) except -1
    cpdef bint has_rounds(self) except -1
    cpdef bint has_confirmed(self, configuration, self_id) except -1
    cpdef list take_confirmed(self, configuration, self_id)
