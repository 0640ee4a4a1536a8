# Types for the compiled `progress.py`.

cdef class Progress:
    cdef public long long match_index, next_index, commit_sent, pending_snapshot
    cdef public long long inflight_bytes, inflight_appends_max, inflight_bytes_max
    cdef public bint asks_for_snapshot, probe_sent, recent_active, send_empty
    cdef public object inflight, state

    cpdef bint is_paused(self) except -1
    cpdef sent(self, long long last_index, long long size_bytes, long long commit)
    cpdef bint accepted(self, long long index) except -1
    cpdef bint rejected(self, long long index, long long next_probe) except -1
    cpdef heartbeat_answered(self, long long last_index)
