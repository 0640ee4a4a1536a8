"""What the load wants to know of an answer, read from its protobuf bytes without the GIL."""

from libc.stdint cimport int64_t, uint8_t

from bench.native.histogram cimport Buckets

cdef enum:
    STAMP_MAGIC_BYTES = 8          # a stamped value begins with them, then come 8 of the time


cdef struct Answer:
    int64_t revision               # of the header
    int64_t keys                   # key-values returned
    int64_t ttl                    # of a keep-alive
    bint succeeded                 # of a transaction
    int64_t found_revision         # mod revision of the first key in a transaction's answers


cdef struct WatchTally:
    int64_t created                # watches that the server says it has
    int64_t cancelled
    int64_t events                 # all that came
    int64_t events_in_window       # those between `from_ns` and `until_ns`
    int64_t from_ns
    int64_t until_ns               # 0: no end
    int64_t previous               # events that came with a previous key-value
    Buckets *latencies             # from a stamp at or after `from_ns` to the arrival


cdef int read_unary(Answer *answer, const uint8_t *data, size_t length,
                    bint is_txn) noexcept nogil
cdef int read_keep_alive(Answer *answer, const uint8_t *data, size_t length) noexcept nogil
cdef int read_watch(WatchTally *tally, const uint8_t *data, size_t length,
                    int64_t now_ns) noexcept nogil
