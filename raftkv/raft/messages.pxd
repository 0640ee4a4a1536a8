# Types for the compiled `messages.py`. Terms and indexes are below 2^63, which the codecs of the
# wire and of the log see to; ids are any u64.

cdef class Value:
    pass

cdef class Entry(Value):
    cdef public long long term, index, checksum
    cdef public object kind
    cdef public bytes data
    cpdef bint is_intact(self) except -1
    cpdef verify(self)

cdef class HardState(Value):
    cdef public long long term, commit
    cdef public unsigned long long vote

cdef class Message(Value):
    cdef public object type, snapshot
    cdef public unsigned long long to, sender, context
    cdef public long long term, log_term, index, commit, reject_hint
    cdef public tuple entries
    cdef public bint reject, force

cpdef long long entry_checksum(long long term, long long index, kind, bytes data) except -2
cpdef long long size_of(entries) except -1
cpdef bint are_intact(entries) except -1
