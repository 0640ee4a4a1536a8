"""The Python face of a load: it allocates, begins and ends what `load_loop` runs."""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.unistd cimport close

from bench.native.client cimport Call, Link, call_begin, call_room, link_begin, link_free
from bench.native.epoll cimport (
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLET, EPOLLIN, EPOLLOUT, epoll_create1, epoll_ctl, epoll_event,
)
from bench.native.histogram cimport Buckets, Histogram
from bench.native.key_stream cimport numbers_begin
from bench.native.load_loop cimport (
    CODE_COUNT, READ_BYTES, TRANSPORT_CODE, WATCH_STREAM, Tally, clock_ns, flush, give_up,
    on_end, on_message, run_slice, wait,
)
from bench.native.request cimport Template, set_path, template_begin, template_free

cdef enum:
    LINKS_MAX = 4096
    CALLS_MAX = 1048576

cdef int64_t SLICE_NS = 100000000  # how long the loop goes on before it looks for signals
cdef bytes WATCH_PATH = b"/etcdserverpb.Watch/Watch"
TRANSPORT = TRANSPORT_CODE


cdef class Load:
    def __init__(self, fds, int streams, operations, *, str order, int64_t space, int64_t stride,
                 int64_t start, uint64_t seed, double rate, table, watch_fds=(), watch_requests=(),
                 int64_t events_per_put=0, int64_t undelivered_max=0):
        cdef int i = 0
        if self.state.links != NULL:
            raise RuntimeError("a load is made once")
        check(len(fds), streams, len(operations), rate, len(watch_fds), len(watch_requests))
        self.keep = [operation.path for operation in operations]
        self.state.rate = rate
        self.state.events_per_put = events_per_put
        self.state.undelivered_max = undelivered_max
        numbers_begin(&self.state.numbers, order, space, stride, seed, 0.99)
        if not 0 <= start < space:
            raise ValueError("the first number is in the space")
        self.state.numbers.following = start
        self.state.choice_state = seed + 1
        if len(table):
            self.table_view = table
            self.state.table = &self.table_view[0]
            self.state.table_length = len(table)
        self.allocate(len(fds), streams, len(operations), len(watch_fds), len(watch_requests))
        for operation in operations:
            template_begin(&self.state.templates[i], operation)
            self.state.weight_total += operation.weight
            i += 1
        i = 0
        for fd in (*fds, *watch_fds):
            link_begin(&self.state.links[i], fd, &self.state, on_message, on_end)
            i += 1
        self.register()
        set_path(&self.state.watch_template, WATCH_PATH)
        self.fill_watches(watch_requests)

    def allocate(self, int links, int streams, int operations, int watch_links, int watch_streams):
        cdef int i
        state = &self.state
        state.unary_count = links * streams
        state.links = <Link *>calloc(max(1, links + watch_links), sizeof(Link))
        state.calls = <Call *>calloc(max(1, state.unary_count + watch_streams), sizeof(Call))
        state.free_calls = <Call **>calloc(max(1, state.unary_count), sizeof(Call *))
        state.templates = <Template *>calloc(max(1, operations), sizeof(Template))
        state.tallies = <Tally *>calloc(max(1, operations), sizeof(Tally))
        state.read_buffer = <uint8_t *>calloc(1, READ_BYTES)
        if not (state.links and state.calls and state.free_calls and state.templates
                and state.tallies and state.read_buffer):
            raise MemoryError
        state.link_count = state.live_links = links + watch_links
        state.call_count = state.unary_count + watch_streams
        state.template_count = operations
        for i in range(state.unary_count):       # neighbours in the ring are on different links
            state.calls[i].link = &state.links[i % links]
            state.free_calls[i] = &state.calls[i]
        state.free_count = state.unary_count
        for i in range(watch_streams):
            state.calls[state.unary_count + i].link = &state.links[links + i % watch_links]
        state.watch.latencies = &state.deliveries

    def register(self):
        cdef epoll_event event
        cdef int i
        self.state.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        if self.state.epoll_fd < 0:
            raise OSError(errno, "epoll_create1")
        for i in range(self.state.link_count):
            event.events = <uint32_t>EPOLLIN | <uint32_t>EPOLLOUT | <uint32_t>EPOLLET
            event.data.ptr = &self.state.links[i]
            if epoll_ctl(self.state.epoll_fd, EPOLL_CTL_ADD, self.state.links[i].fd, &event):
                raise OSError(errno, "epoll_ctl")

    def fill_watches(self, watch_requests):
        cdef Call *call
        cdef uint8_t *room
        cdef bytes request
        cdef int i = self.state.unary_count
        for request in watch_requests:
            call = &self.state.calls[i]
            call.operation = WATCH_STREAM
            call.stays_open = True
            room = call_room(call, len(request))
            if room == NULL:
                raise MemoryError
            memcpy(room, <const char *>request, len(request))
            i += 1

    def __dealloc__(self):
        self.release()
        free(self.state.tallies)

    def close(self):
        self.release()

    cdef int release(self) except -1:
        cdef int i
        state = &self.state
        if state.links != NULL:
            for i in range(state.link_count):
                link_free(&state.links[i])
        if state.calls != NULL:
            for i in range(state.call_count):
                free(state.calls[i].request)
                free(state.calls[i].answer)
        if state.templates != NULL:
            for i in range(state.template_count):
                template_free(&state.templates[i])
        if state.epoll_fd > 0:
            close(state.epoll_fd)
        free(state.links)
        free(state.calls)
        free(state.free_calls)
        free(state.templates)
        free(state.read_buffer)
        state.links = NULL
        state.calls = NULL
        state.free_calls = NULL
        state.templates = NULL
        state.read_buffer = NULL
        state.epoll_fd = 0
        return 0

    def open(self, int64_t watches, double timeout_s):
        cdef int i
        cdef int64_t until_ns
        if self.opened or self.state.links == NULL:
            raise RuntimeError("a load is opened once")
        self.opened = True
        state = &self.state
        state.now_ns = clock_ns()
        for i in range(state.unary_count, state.call_count):
            if call_begin(&state.calls[i], state.watch_template.headers):
                raise ConnectionError("a watch cannot be opened")
        for i in range(state.link_count):
            state.links[i].dirty = True
        until_ns = state.now_ns + <int64_t>(timeout_s * 1e9)
        while True:
            with nogil:
                flush(state)
                wait(state, min(until_ns, clock_ns() + SLICE_NS))
                flush(state)
            PyErr_CheckSignals()
            if state.lost_links or state.watch.cancelled:
                raise ConnectionError(self.error_text or "connection lost, or watch cancelled")
            if state.watch.created >= watches:
                return
            if state.now_ns > until_ns:
                raise TimeoutError(f"{state.watch.created} of {watches} watches were created")

    def run(self, double duration_s, double warm_up_s, int64_t count, double drain_s):
        cdef int64_t drain_ns = <int64_t>(drain_s * 1e9)
        cdef bint done = False
        if not self.opened or self.ran or self.state.links == NULL:
            raise RuntimeError("a load is opened, then run once")
        if duration_s <= 0 and count < 1 or not 0 <= warm_up_s <= max(0, duration_s):
            raise ValueError("a run has a duration, longer than its warm-up, or a count")
        self.ran = True
        state = &self.state
        state.start_ns = state.now_ns = clock_ns()
        state.record_from_ns = state.start_ns + <int64_t>(warm_up_s * 1e9)
        state.watch.from_ns = state.record_from_ns
        state.count_max = count
        if duration_s > 0:
            state.stop_ns = state.watch.until_ns = state.start_ns + <int64_t>(duration_s * 1e9)
            if state.rate:
                state.count_max = max(1, <int64_t>(state.rate * duration_s))
        while not done:
            with nogil:
                done = run_slice(state, clock_ns() + SLICE_NS, drain_ns)
            PyErr_CheckSignals()
        give_up(state)

    cdef Tally *tally_at(self, int operation) except NULL:
        if not 0 <= operation < self.state.template_count:
            raise IndexError("no such operation")
        return &self.state.tallies[operation]

    def tally(self, int operation):
        cdef Tally *tally = self.tally_at(operation)
        return {
            "issued": tally.issued, "completed": tally.completed, "recorded": tally.recorded,
            "refused": tally.refused, "keys": tally.keys, "answer_bytes": tally.answer_bytes,
            "request_bytes": tally.request_bytes,
        }

    def errors(self, int operation):
        cdef Tally *tally = self.tally_at(operation)
        return {code: tally.errors[code] for code in range(CODE_COUNT) if tally.errors[code]}

    def latencies(self, int operation):
        cdef Histogram found = Histogram()
        memcpy(&found.buckets, &self.tally_at(operation).latencies, sizeof(Buckets))
        return found

    def delivery_latencies(self):
        cdef Histogram found = Histogram()
        memcpy(&found.buckets, &self.state.deliveries, sizeof(Buckets))
        return found

    @property
    def error_text(self):
        return self.state.first_text.decode(errors="replace")

    @property
    def window_s(self):
        state = &self.state
        if not state.stop_ns:
            return max(0, state.last_answer_ns - state.record_from_ns) / 1e9
        if state.rate:
            return (max(state.last_answer_ns, state.stop_ns) - state.record_from_ns) / 1e9
        return (state.stop_ns - state.record_from_ns) / 1e9

    @property
    def unissued(self):
        return self.state.unissued

    @property
    def watch_tally(self):
        watch = &self.state.watch
        return {
            "created": watch.created, "cancelled": watch.cancelled, "events": watch.events,
            "events_in_window": watch.events_in_window, "previous": watch.previous,
        }

    @property
    def lost_links(self):
        return self.state.lost_links

    @property
    def revision(self):
        return self.state.max_revision


def check(links, streams, operations, rate, watch_links, watch_streams):
    """Raise ValueError where the arguments of a load do not fit together."""
    if links + watch_links > LINKS_MAX or links * streams + watch_streams > CALLS_MAX:
        raise ValueError(f"at most {LINKS_MAX} connections and {CALLS_MAX} calls")
    if links and (streams < 1 or not operations):
        raise ValueError("connections need streams and operations")
    if rate < 0 or (watch_streams and not watch_links):
        raise ValueError("a rate is not negative; streams of watches need connections")
