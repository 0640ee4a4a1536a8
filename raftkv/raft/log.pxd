# Types for the compiled `log.py`.

import cython

from raftkv.raft.messages cimport Entry

cdef class RaftLog:
    cdef public long long commit_index, handed_out_index, last_index, last_term
    cdef public long long stable_index, taken_index
    cdef public long long _cache_bytes, _cache_bytes_max, _offset, _taken_in_flight
    cdef public object _reader, _snapshot
    cdef public list _tail

    cpdef bint is_cached(self, long long index) except -1
    @cython.locals(entry=Entry)
    cpdef long long term(self, long long index) except -1
    cpdef bint matches(self, long long index, long long term) except -1
    cpdef bint is_up_to_date(self, long long last_index, long long last_term) except -1
    @cython.locals(start=cython.longlong, size=cython.longlong, found=list, entry=Entry)
    cpdef list entries(self, long long lo, long long hi, long long bytes_max,
                       long long count_max=*)
    @cython.locals(entry=Entry)
    cpdef append(self, entries)
    @cython.locals(entry=Entry)
    cpdef long long merge(self, entries) except -1
    cpdef tuple take_unstable(self)
    cpdef bint has_unstable(self) except -1
    cpdef mark_stable(self)
    cpdef bint applicable(self) except -1
    @cython.locals(hi=cython.longlong, found=tuple, entry=Entry)
    cpdef tuple take_committed(self, long long bytes_max)
    @cython.locals(limit=cython.longlong, drop=cython.longlong, entry=Entry)
    cpdef _evict(self)
