"""Which handler answers which gRPC path, and how often each was asked and answered."""

cdef enum:
    STATUS_CODES = 17                    # of gRPC, 0 to 16
    LATENCY_BUCKETS = 12                 # eleven bounds and what is slower


cdef double now_s() noexcept nogil


cdef class Method:
    cdef readonly bytes path
    cdef readonly bint is_streaming
    cdef readonly object handler
    cdef readonly object large_handler   # LargeHandler of a unary method, or None
    cdef readonly long long started      # calls begun
    cdef readonly long long received     # messages of clients
    cdef readonly long long sent         # messages to clients
    cdef long long[STATUS_CODES] handled           # calls ended, by status
    cdef long long[LATENCY_BUCKETS] latency        # calls ended, by duration; not cumulative
    cdef readonly double latency_sum_s

    cdef int count_end(self, int code, double began_s) noexcept


cdef class MethodTable:
    cdef dict methods                    # path -> Method
    cdef set services                    # names, for the text of an unknown method
