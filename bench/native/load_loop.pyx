"""The load generator: one epoll loop over all connections, without the GIL.

Open loop: request i is due at start + i / rate whatever the server does, and its latency counts
from that moment even when it could not leave in time, so that a server that stalls cannot hide
the requests that it kept from being sent. Closed loop: every call is followed at once by the next.
The loop reads all sockets that have something, then issues what is due, then writes once a
socket: company costs the generator less, as it does the servers.
"""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport read

from bench.native.answer cimport Answer, read_keep_alive, read_unary, read_watch
from bench.native.client cimport call_begin, call_more, link_flush, link_receive
from bench.native.epoll cimport EPOLLOUT, epoll_event, epoll_pwait2
from bench.native.histogram cimport buckets_record
from bench.native.key_stream cimport next_number, next_random
from bench.native.request cimport KEEP_ALIVE, OTHER, PUT, TXN, template_fill

cdef enum:
    EVENTS_MAX = 128

cdef int64_t SECOND_NS = 1000000000


cdef int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * SECOND_NS + now.tv_nsec


cdef int run_slice(State *load, int64_t until_ns, int64_t drain_ns) noexcept nogil:
    """Go on until `until_ns`. Returns 1 at the end of the run."""
    cdef int64_t wake_ns
    cdef bint all_left
    while True:
        load.now_ns = clock_ns()
        all_left = nothing_follows(load)
        if ended(load, all_left, drain_ns):
            return 1
        if not all_left:
            issue_due(load)
        flush(load)
        if load.now_ns >= until_ns:
            return 0
        wake_ns = until_ns
        if not all_left and load.free_count and not held_back(load):
            wake_ns = min(wake_ns, next_due(load))
        if load.now_ns < load.stop_ns:
            wake_ns = min(wake_ns, load.stop_ns)
        wait(load, wake_ns)


cdef bint nothing_follows(State *load) noexcept nogil:
    """Tell whether all requests of this run have left."""
    if load.count_max and load.issued >= load.count_max:
        return True
    # An open loop sends late what was due in time.
    return load.stop_ns and not load.rate and load.now_ns >= load.stop_ns or not load.unary_count


cdef bint ended(State *load, bint all_left, int64_t drain_ns) noexcept nogil:
    """Tell whether nothing is owed any more, or it has been waited for long enough."""
    cdef int64_t patient_from_ns = load.stop_ns
    if not load.live_links:
        return True
    if not load.stop_ns:
        patient_from_ns = max(load.start_ns, load.last_answer_ns)
    if load.now_ns >= patient_from_ns + drain_ns:
        return True
    if not all_left or load.in_flight or load.now_ns < load.stop_ns:
        return False
    return load.watch.events >= load.events_per_put * written(load)


cdef int64_t next_due(State *load) noexcept nogil:
    if not load.rate:
        return load.now_ns
    return load.start_ns + <int64_t>(<double>load.issued * 1e9 / load.rate)


cdef int64_t written(State *load) noexcept nogil:
    """Return how many puts were answered: each is an event for every watcher."""
    cdef int64_t puts = 0
    cdef int i
    for i in range(load.template_count):
        if load.templates[i].kind == PUT:
            puts += load.tallies[i].completed
    return puts


cdef bint held_back(State *load) noexcept nogil:
    """Tell whether so many events are owed to watchers that no put may leave."""
    return load.undelivered_max and load.events_per_put and (
        load.issued * load.events_per_put - load.watch.events
        >= load.undelivered_max * load.events_per_put)


cdef int issue_due(State *load) noexcept nogil:
    cdef Call *call
    cdef int64_t due_ns
    while load.free_count and not (load.count_max and load.issued >= load.count_max):
        due_ns = next_due(load)
        if due_ns > load.now_ns or held_back(load):
            return 0
        call = load.free_calls[load.free_first]
        load.free_first = (load.free_first + 1) % load.unary_count
        load.free_count -= 1
        if call.link.lost:
            continue
        issue(load, call, due_ns)
    return 0


cdef int pick(State *load) noexcept nogil:
    """Choose the operation of the next request by weight."""
    cdef int i = 0
    cdef int left
    if load.template_count == 1:
        return 0
    left = <int>(next_random(&load.choice_state) % <uint64_t>load.weight_total)
    while left >= load.templates[i].weight:
        left -= load.templates[i].weight
        i += 1
    return i


cdef int issue(State *load, Call *call, int64_t intended_ns) noexcept nogil:
    cdef Template *template
    cdef Tally *tally
    cdef int failed
    load.issued += 1
    call.operation = pick(load) if not call.stream_id else call.operation
    template = &load.templates[call.operation]
    tally = &load.tallies[call.operation]
    call.number = next_number(&load.numbers)
    call.intended_ns = intended_ns
    call.stays_open = template.kind == KEEP_ALIVE
    tally.issued += 1
    tally.request_bytes += template.length
    load.in_flight += 1
    if template_fill(template, call, load.table, load.table_length):
        return finished(load, call, TRANSPORT_CODE)
    if call.stream_id:
        failed = call_more(call)
    else:
        failed = call_begin(call, template.headers)
    if failed:
        return finished(load, call, TRANSPORT_CODE)
    call.link.dirty = True
    return 0


cdef int give_back(State *load, Call *call) noexcept nogil:
    load.free_calls[(load.free_first + load.free_count) % load.unary_count] = call
    load.free_count += 1
    return 0


cdef int finished(State *load, Call *call, uint64_t code) noexcept nogil:
    """Record one answer and let the call be used again."""
    cdef Tally *tally = &load.tallies[call.operation]
    load.in_flight -= 1
    if code:
        tally.errors[min(code, TRANSPORT_CODE)] += 1
        if not load.first_text[0]:
            memcpy(load.first_text, call.text, sizeof(load.first_text))
    else:
        tally.completed += 1
        load.last_answer_ns = load.now_ns
    if not code and in_window(load, call):
        tally.recorded += 1
        buckets_record(&tally.latencies, load.now_ns - call.intended_ns)
    if not call.link.lost:
        give_back(load, call)
    return 0


cdef bint in_window(State *load, const Call *call) noexcept nogil:
    """Tell whether an answer counts: by when it was due in an open loop, by when it came in a
    closed one."""
    if load.rate:
        return call.intended_ns >= load.record_from_ns
    return load.now_ns >= load.record_from_ns and (
        not load.stop_ns or load.now_ns <= load.stop_ns)


cdef int wait(State *load, int64_t until_ns) noexcept nogil:
    """Wait for sockets, at most until then, and read them; `now_ns` is the time afterwards."""
    cdef epoll_event[EVENTS_MAX] events
    cdef timespec timeout
    cdef int64_t left_ns = max(0, until_ns - clock_ns())
    cdef Link *link
    cdef int count, i
    timeout.tv_sec = left_ns // SECOND_NS
    timeout.tv_nsec = left_ns % SECOND_NS
    count = epoll_pwait2(load.epoll_fd, events, EVENTS_MAX, &timeout, NULL)
    load.now_ns = clock_ns()
    for i in range(max(0, count)):
        link = <Link *>events[i].data.ptr
        if link.lost:
            continue
        if events[i].events & EPOLLOUT and link.blocked:
            link.dirty = True
        receive(load, link)
    return 0


cdef int receive(State *load, Link *link) noexcept nogil:
    """Read all that the socket has (it tells only once)."""
    cdef ssize_t size
    while True:
        size = read(link.fd, load.read_buffer, READ_BYTES)
        if size < 0 and errno == EINTR:
            continue
        if size < 0 and errno == EAGAIN:
            return 0
        if size <= 0:
            return lose(load, link)
        load.now_ns = clock_ns()
        if link_receive(link, load.read_buffer, size) < 0:
            return lose(load, link)
        link.dirty = True
        if size < READ_BYTES:
            return 0


cdef int flush(State *load) noexcept nogil:
    cdef int i
    for i in range(load.link_count):
        if load.links[i].dirty and not load.links[i].lost and link_flush(&load.links[i]):
            lose(load, &load.links[i])
    return 0


cdef int lose(State *load, Link *link) noexcept nogil:
    """Count every call of a connection that is gone as failed."""
    cdef int i
    link.lost = True
    load.lost_links += 1
    load.live_links -= 1
    for i in range(load.unary_count):
        if load.calls[i].link == link and load.calls[i].stream_id:
            load.calls[i].stream_id = 0
            if load.calls[i].intended_ns:
                finished(load, &load.calls[i], TRANSPORT_CODE)
    return 0


cdef int give_up(State *load) noexcept nogil:
    """At the end: what was never answered is a failure; what never left is only counted.

    Both have waited until now, and their latencies say so.
    """
    cdef Call *call
    cdef int64_t due_ns
    cdef int i
    load.now_ns = clock_ns()
    for i in range(load.unary_count):
        call = &load.calls[i]
        if call.stream_id and call.intended_ns and not call.link.lost:
            load.tallies[call.operation].errors[TRANSPORT_CODE] += 1
            buckets_record(&load.tallies[call.operation].latencies,
                           load.now_ns - call.intended_ns)
    while load.rate and load.stop_ns and load.issued < load.count_max:
        due_ns = next_due(load)
        load.issued += 1
        load.unissued += 1
        buckets_record(&load.tallies[0].latencies, load.now_ns - due_ns)
    return 0


cdef void learn(State *load, Call *call, const Template *template, Tally *tally,
                const Answer *answer) noexcept nogil:
    """Keep what an answer tells: the revisions of keys, and what the counts need."""
    cdef int64_t number = call.number
    cdef int64_t until = min(number + template.span, load.table_length)
    cdef int64_t revision = answer.revision
    tally.keys += answer.keys
    load.max_revision = max(load.max_revision, revision)
    if template.kind == KEEP_ALIVE:
        if answer.ttl <= 0:
            tally.refused += 1
        return
    if template.kind == TXN and not answer.succeeded:
        tally.refused += 1
        revision = answer.found_revision
        if not revision:
            return
    elif template.kind != PUT and template.kind != TXN:
        return
    while number < until:
        load.table[number] = max(load.table[number], revision)
        number += 1


cdef void on_message(void *owner, Call *call, const uint8_t *message,
                     size_t length) noexcept nogil:
    cdef State *load = <State *>owner
    cdef Template *template
    cdef Tally *tally
    cdef Answer answer
    if call.operation == WATCH_STREAM:
        if read_watch(&load.watch, message, length, load.now_ns):
            load.watch.cancelled += 1
        return
    template = &load.templates[call.operation]
    tally = &load.tallies[call.operation]
    tally.answer_bytes += length
    if template.kind == KEEP_ALIVE:
        read_keep_alive(&answer, message, length)
        learn(load, call, template, tally, &answer)
        finished(load, call, 0)
        call.intended_ns = 0
    elif template.kind != OTHER:
        if read_unary(&answer, message, length, template.kind == TXN) == 0:
            learn(load, call, template, tally, &answer)


cdef void on_end(void *owner, Call *call, uint32_t error_code) noexcept nogil:
    cdef State *load = <State *>owner
    cdef uint64_t code = TRANSPORT_CODE
    if call.operation == WATCH_STREAM:
        load.watch.cancelled += 1
        if not load.first_text[0]:
            memcpy(load.first_text, call.text, sizeof(load.first_text))
        return
    if error_code == 0 and call.grpc_status >= 0:
        code = <uint64_t>call.grpc_status
    if load.templates[call.operation].kind == KEEP_ALIVE:
        if not call.intended_ns:
            return                 # between two messages: the call is free already
        if code == 0:
            code = TRANSPORT_CODE   # the server ended a stream that owed an answer
    finished(load, call, code)
