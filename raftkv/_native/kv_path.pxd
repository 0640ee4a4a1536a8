# What the short ways of requests have in common: when they are open, and who gets the rest.

cdef class KvPath:
    cdef object node              # knows the leader, the term, and who votes
    cdef object auth              # `stamp`: None while there are no users
    cdef object alarms
    cdef object member_id
    cdef object configuration     # what `votes` was found in
    cdef bint votes               # this member is no learner

    cdef readonly unsigned long long count     # requests that went the short way
    cdef public object slow_handle             # handler(stream, message) for all others

    cdef bint is_open(self) except -1
