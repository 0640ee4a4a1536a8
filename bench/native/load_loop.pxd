"""State of one load and what its loop does; `load` gives it to Python.

Ownership: `load.Load` allocates and frees everything here. One thread at a time calls.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from bench.native.answer cimport WatchTally
from bench.native.client cimport TEXT_BYTES, Call, Link
from bench.native.histogram cimport Buckets
from bench.native.key_stream cimport Numbers
from bench.native.request cimport Template

cdef enum:
    CODE_COUNT = 18                # gRPC's 0 to 16, and
    TRANSPORT_CODE = 17            # reset, lost, never answered
    WATCH_STREAM = -1              # `Call.operation` of a stream of watches


cdef struct Tally:
    int64_t issued
    int64_t completed              # answered with OK
    int64_t recorded               # of them, those that count for the rate
    int64_t refused                # transactions whose compare failed; leases that are gone
    int64_t keys                   # returned
    int64_t answer_bytes
    int64_t request_bytes
    int64_t[CODE_COUNT] errors
    Buckets latencies              # from the moment when a request was due


cdef struct State:
    Link *links                    # of unary calls first, then of watches
    int link_count
    int live_links
    int lost_links
    Call *calls                    # unary ones first, then the streams of watches
    int call_count
    int unary_count
    Call **free_calls              # a ring of `unary_count`: calls that wait for their next request
    int free_first
    int free_count
    Template *templates
    Template watch_template        # only its headers
    Tally *tallies                 # one a template
    int template_count
    int weight_total
    Numbers numbers
    uint64_t choice_state          # of the generator that picks the template
    int64_t *table                 # a number for each key: its revision, or its lease
    int64_t table_length
    uint8_t *read_buffer           # READ_BYTES
    int epoll_fd

    double rate                    # a second; 0: closed loop
    int64_t events_per_put         # how many watchers hear of each put; 0: nobody counts
    int64_t undelivered_max        # 0: no bound
    int64_t now_ns                 # as of the last look at the clock
    int64_t start_ns
    int64_t stop_ns                # nothing is due from then on; 0: only the count ends the run
    int64_t record_from_ns
    int64_t last_answer_ns
    int64_t count_max              # 0: no bound
    int64_t issued
    int64_t in_flight
    int64_t max_revision
    int64_t unissued               # due, but nothing was free to carry them
    WatchTally watch
    Buckets deliveries
    char[TEXT_BYTES] first_text    # of the first error


cdef enum:
    READ_BYTES = 1048576

cdef int64_t clock_ns() noexcept nogil
cdef int flush(State *load) noexcept nogil
cdef int wait(State *load, int64_t until_ns) noexcept nogil
cdef int run_slice(State *load, int64_t until_ns, int64_t drain_ns) noexcept nogil
cdef int give_up(State *load) noexcept nogil
cdef void on_message(void *owner, Call *call, const uint8_t *message, size_t length) noexcept nogil
cdef void on_end(void *owner, Call *call, uint32_t error_code) noexcept nogil
