"""Deliver events to watchers (etcd api_guarantees: ordered, unique, reliable, atomic, resumable).

A watcher is *synced* when everything up to the hub's revision was put into its stream: then it sits
in the index and `publish` feeds it. Otherwise it is *unsynced* and `pump` reads history for it, a
bounded step at a time. A stream whose peer does not read makes its watchers unsynced: they wait, as
two integers each, until the sink has drained, and then read history from where they stopped.

An event is encoded once per form (with and without the previous value), whoever watches; watchers
of the same range share the body of their answers. Whole revisions travel together, and a header's
revision says that everything up to it was delivered; so several small revisions may share one
response, as in etcd's own catch-up.
"""

from bisect import bisect_left, bisect_right
from collections import deque

from raftkv._native.watch_response cimport delimited, events_field, watch_id_field

from raftkv.errors import ErrorCode, StoreError

__all__ = ["WatchHub", "WatchStream", "Watcher"]

EMPTY_RANGE = b"mvcc: watcher range is empty"
DUPLICATE_ID = b"mvcc: duplicate watch ID provided on the WatchStream"
COMPACTED = b"etcdserver: mvcc: required revision has been compacted"

cdef enum:
    PUMP_STEPS_MAX = 64  # catch-up steps in one call of `pump`, so that the loop stays responsive
    NO_ID = -1  # the watch id of answers that concern no watcher


cdef int put_varint(bytearray out, unsigned long long value) except -1:
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return 0


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key above all that begin with `prefix`; b"\\0" where there is none."""
    cdef Py_ssize_t length = len(prefix)
    while length and prefix[length - 1] == 0xFF:
        length -= 1
    if length == 0:
        return b"\0"
    return prefix[: length - 1] + bytes((prefix[length - 1] + 1,))


cdef class Watcher:
    """One watch of a stream. Read-only outside this module."""

    def __cinit__(self):
        self.idle = True


cdef class WatcherGroup:
    """The synced watchers of one key or range."""

    def __cinit__(self):
        self.watchers = {}
        self.hits = []


cdef class WatcherIndex:
    """Find the groups that a key concerns.

    Single keys and prefixes cost one dict look-up each (one per distinct prefix length); any other
    range costs a step for each range that begins at or below the key.
    """

    def __cinit__(self):
        self.single = {}
        self.prefixes = {}
        self.ranges = []
        self.starts = []
        self.group_count = 0

    cdef WatcherGroup group_for(self, bytes key, bytes range_end):
        cdef WatcherGroup group
        cdef dict table = self._table(key, range_end, True)
        cdef Py_ssize_t place = 0
        if table is not None:
            group = table.get(key)
            if group is not None:
                return group
        else:
            place = bisect_left(self.starts, key)
            while place < len(self.starts) and self.starts[place] == key:
                group = self.ranges[place]
                if group.range_end == range_end:
                    return group
                place += 1
        group = WatcherGroup()
        group.key = key
        group.range_end = range_end
        self.group_count += 1
        if table is not None:
            table[key] = group
        else:
            self.starts.insert(place, key)
            self.ranges.insert(place, group)
        return group

    def _table(self, bytes key, bytes range_end, bint create):
        """Return the dict that a key or prefix belongs to, None for any other range."""
        if not range_end:
            return self.single
        if range_end != prefix_end(key):
            return None
        if create:
            return self.prefixes.setdefault(len(key), {})
        return self.prefixes.get(len(key))

    cdef int discard(self, WatcherGroup group) except -1:
        cdef dict table = self._table(group.key, group.range_end, False)
        cdef Py_ssize_t place = 0
        self.group_count -= 1
        if table is None:
            place = bisect_left(self.starts, group.key)
            while self.ranges[place] is not group:
                place += 1
            del self.ranges[place]
            del self.starts[place]
            return 0
        del table[group.key]
        if not table and table is not self.single:
            del self.prefixes[len(group.key)]
        return 0

    cdef list groups(self):
        """Return every group."""
        cdef list found = list(self.single.values())
        for table in self.prefixes.values():
            found.extend((<dict> table).values())
        found.extend(self.ranges)
        return found

    cdef int mark(self, bytes key, Py_ssize_t position, list touched) except -1:
        """Note the event at `position` in every group that contains `key`."""
        cdef WatcherGroup group
        cdef Py_ssize_t length, place, size = len(key)
        found = self.single.get(key)
        if found is not None:
            group = <WatcherGroup> found
            if not group.hits:
                touched.append(group)
            group.hits.append(position)
        for length, table in self.prefixes.items():
            if length <= size:
                found = (<dict> table).get(key[:length])
                if found is not None:
                    group = <WatcherGroup> found
                    if not group.hits:
                        touched.append(group)
                    group.hits.append(position)
        if self.ranges:
            for place in range(bisect_right(self.starts, key)):
                group = <WatcherGroup> self.ranges[place]
                if group.range_end == b"\0" or key < group.range_end:
                    if not group.hits:
                        touched.append(group)
                    group.hits.append(position)
        return 0


cdef class EventBlock:
    """Events `(revision, key, encoded event)` and their encoded `events` fields."""

    def __init__(self, store, list events):
        self.store = store
        self.events = events
        self.plain = [None] * len(events)
        self.with_previous = [None] * len(events)

    cdef bytes entry(self, Py_ssize_t position, bint prev_kv):
        cdef list forms = self.with_previous if prev_kv else self.plain
        made = forms[position]
        if made is None:
            revision, key, event = self.events[position]
            made = events_field(event, self.store.previous_kv(key, revision) if prev_kv else None)
            forms[position] = made
        return <bytes> made

    cdef list select(self, Watcher watcher, list positions):
        """Return the entries at `positions` that the watcher's filters and start let through."""
        cdef list entries = []
        cdef Py_ssize_t position
        cdef bint is_delete
        for position in positions:
            revision, _, event = self.events[position]
            if <long long> revision < watcher.next_revision:
                continue
            if watcher.no_put or watcher.no_delete:
                is_delete = (<bytes> event)[:2] == b"\x08\x01"
                if watcher.no_delete if is_delete else watcher.no_put:
                    continue
            entries.append(self.entry(position, watcher.prev_kv))
        return entries


cdef class WatchStream:
    """All watchers of one gRPC stream. `sink` has `send(head, tail)` and `pending_bytes`."""

    def __init__(self, WatchHub hub, sink):
        self.hub = hub
        self.sink = sink
        self.watchers = {}
        self.parked = []
        hub.stream_count += 1

    def create(self, bytes key, bytes range_end, long long start_revision, *, bint prev_kv=False,
               bint no_put=False, bint no_delete=False, bint progress_notify=False,
               long long watch_id=0, bint fragment=False):
        """Start a watcher and answer `created`; refusals are answered with watch id -1."""
        cdef WatchHub hub = self.hub
        cdef Watcher watcher
        if not key:
            key = b"\0"
        if range_end and range_end != b"\0" and key >= range_end:
            return self._refuse(EMPTY_RANGE)
        if start_revision < 0:
            return self._refuse(COMPACTED)
        if watch_id in self.watchers and watch_id != 0:
            return self._refuse(DUPLICATE_ID)
        if watch_id == 0:
            while self.next_id in self.watchers:
                self.next_id += 1
            watch_id = self.next_id
            self.next_id += 1
        watcher = Watcher()
        watcher.watch_id = watch_id
        watcher.key = key
        # [key, key + "\0") holds exactly one key.
        watcher.range_end = b"" if range_end == key + b"\0" else range_end
        if key == b"\0" and range_end == b"\0":
            watcher.key = b""  # every key: the empty prefix
        watcher.prev_kv = prev_kv
        watcher.no_put = no_put
        watcher.no_delete = no_delete
        watcher.fragment = fragment
        watcher.progress_notify = progress_notify
        watcher.stream = self
        watcher.next_revision = start_revision
        self.watchers[watch_id] = watcher
        hub.watcher_count += 1
        if progress_notify:
            hub.notified[watcher] = None
        self.sink.send(hub.header(hub.revision) + watch_id_field(watch_id) + b"\x18\x01")
        hub.start(watcher)

    def _refuse(self, bytes reason):
        self.sink.send(
            self.hub.header(self.hub.revision)
            + watch_id_field(NO_ID)
            + b"\x18\x01\x20\x01"
            + delimited(0x32, reason)
        )

    def watched(self):
        """Return (watch id, key, range end) of every watcher."""
        return [(one.watch_id, one.key or b"\0", one.range_end) for one in self.watchers.values()]

    def cancel(self, long long watch_id, bytes reason=b""):
        """End one watcher and say so, and why; an unknown id gets no answer."""
        cdef Watcher watcher = self.watchers.get(watch_id)
        if watcher is None:
            return
        self.hub.remove(watcher)
        answer = self.hub.header(self.hub.revision) + watch_id_field(watch_id) + b"\x20\x01"
        self.sink.send(answer + delimited(0x32, reason) if reason else answer)
        self.send_progress_if_due()

    def request_progress(self):
        """Answer with watch id -1 and the revision up to which all watchers have everything.

        The answer waits until every watcher of the stream is synced and past its start.
        """
        self.progress_wanted = True
        self.send_progress_if_due()

    cdef int send_progress_if_due(self) except -1:
        cdef Watcher watcher
        if not self.progress_wanted or self.unsynced_count:
            return 0
        for watcher in self.watchers.values():
            if watcher.next_revision > self.hub.revision + 1:
                return 0
        self.progress_wanted = False
        self.sink.send(self.hub.header(self.hub.revision) + watch_id_field(NO_ID))
        return 0

    def drained(self):
        """Go on with the watchers that waited for the sink."""
        cdef list parked = self.parked
        self.parked = []
        for watcher in parked:
            self.hub.queue(<Watcher> watcher)

    def close(self):
        """Forget every watcher. Idempotent; nothing is sent any more."""
        if self.closed:
            return
        self.closed = True
        for watcher in list(self.watchers.values()):
            self.hub.remove(<Watcher> watcher)
        self.parked.clear()
        self.hub.stream_count -= 1


cdef class WatchHub:
    """Feeds all watch streams of one member from its store. Used from the event loop only."""

    def __init__(self, store, on_work, *, cluster_id, member_id,
                 Py_ssize_t budget_bytes=1 << 20, Py_ssize_t step_bytes=256 << 10,
                 Py_ssize_t fragment_bytes=2 << 20):
        if budget_bytes < 1 or step_bytes < 1 or fragment_bytes < 1:
            raise ValueError("watch hub: every bound must be at least 1")
        self.store = store
        self.on_work = on_work
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.budget_bytes = budget_bytes
        self.step_bytes = step_bytes
        self.fragment_bytes = fragment_bytes
        self.index = WatcherIndex()
        self.runnable = deque()
        self.notified = {}  # a dict: in the order of their creation
        self.revision = store.revision

    def open(self, sink):
        """Return a new stream that writes to `sink`."""
        return WatchStream(self, sink)

    @property
    def slow_count(self):
        """Watchers that are not synced."""
        return self.watcher_count - self.synced_count

    cdef bytes header(self, long long revision):
        """Encode the `header` field of a response; every response begins with it."""
        cdef bytearray out = bytearray(b"\x08")
        put_varint(out, self.cluster_id)
        out.append(0x10)
        put_varint(out, self.member_id)
        if revision:
            out.append(0x18)
            put_varint(out, <unsigned long long> revision)
        out.append(0x20)
        put_varint(out, self.raft_term)
        return delimited(0x0A, bytes(out))

    def publish(self):
        """Send what the store applied since the last call to every synced watcher."""
        cdef long long target = self.store.revision
        cdef long long last
        cdef list events
        while self.synced_count and self.revision < target:
            events = self.store.events(self.revision + 1, target, self.step_bytes)
            if not events:
                break
            last = events[len(events) - 1][0]
            self.fan_out(events, self.revision + 1, last)
            self.revision = last
        self.revision = target

    def replay(self):
        """Take note that the store was replaced by a later state.

        Synced watchers read what they lack from its history, or hear that it is compacted.
        """
        cdef Watcher watcher
        cdef WatcherGroup group
        cdef list synced = []
        for found in self.index.groups():
            group = <WatcherGroup> found
            synced.extend(group.watchers)
        for one in synced:
            watcher = <Watcher> one
            self.make_unsynced(watcher, max(self.revision + 1, watcher.next_revision))
            self.queue(watcher)
        self.revision = self.store.revision

    cdef int fan_out(self, list events, long long first, long long last) except -1:
        cdef EventBlock block = EventBlock(self.store, events)
        cdef list touched = []
        cdef Py_ssize_t position
        cdef WatcherGroup group
        cdef bytes header
        for position in range(len(events)):
            self.index.mark(<bytes> (<tuple> events[position])[1], position, touched)
        if not touched:
            return 0
        header = self.header(last)
        for group in touched:
            try:
                self.deliver(group, block, first, header)
            finally:
                group.hits = []
        return 0

    cdef int deliver(self, WatcherGroup group, EventBlock block, long long first,
                     bytes header) except -1:
        """Send a group's events to its watchers; equal watchers share one body."""
        cdef dict bodies = {}
        cdef Watcher watcher
        cdef list entries
        cdef bytes body
        cdef int form
        for watcher in list(group.watchers):
            if watcher.closed:
                continue
            if watcher.stream.sink.pending_bytes > self.budget_bytes:
                self.make_unsynced(watcher, max(first, watcher.next_revision))
                watcher.stream.parked.append(watcher)
                continue
            form = watcher.prev_kv | watcher.no_put << 1 | watcher.no_delete << 2
            if watcher.next_revision > first:
                entries = block.select(watcher, group.hits)
                body = b"".join(entries)
            elif form in bodies:
                entries, body = bodies[form]
            else:
                entries = block.select(watcher, group.hits)
                body = b"".join(entries)
                bodies[form] = (entries, body)
            if entries:
                self.send_events(watcher, header, entries, body)
        return 0

    cdef int send_events(self, Watcher watcher, bytes header, list entries, bytes body) except -1:
        """Send one response, or several fragments where the watcher wants that and it is large."""
        cdef bytes head = header + watch_id_field(watcher.watch_id)
        cdef Py_ssize_t size, begin, end
        watcher.idle = False
        self.events_sent += len(entries)
        if not watcher.fragment or len(body) < self.fragment_bytes or len(entries) == 1:
            watcher.stream.sink.send(head, body)
            return 0
        begin = 0
        while begin < len(entries):
            size = len(<bytes> entries[begin])
            end = begin + 1
            while end < len(entries) and size + len(<bytes> entries[end]) < self.fragment_bytes:
                size += len(<bytes> entries[end])
                end += 1
            watcher.stream.sink.send(
                head + (b"\x38\x01" if end < len(entries) else b""), b"".join(entries[begin:end])
            )
            begin = end
        return 0

    cdef int start(self, Watcher watcher) except -1:
        """Begin a new watcher's life: synced from now or a later revision, or in the past."""
        if watcher.next_revision == 0 or watcher.next_revision > self.revision:
            self.make_synced(watcher)
        else:
            watcher.stream.unsynced_count += 1
            self.queue(watcher)
        return 0

    cdef int make_synced(self, Watcher watcher) except -1:
        watcher.synced = True
        watcher.group = self.index.group_for(watcher.key, watcher.range_end)
        watcher.group.watchers[watcher] = None
        self.synced_count += 1
        return 0

    cdef int make_unsynced(self, Watcher watcher, long long next_revision) except -1:
        cdef WatcherGroup group = watcher.group
        watcher.synced = False
        watcher.next_revision = next_revision
        watcher.group = None
        del group.watchers[watcher]
        if not group.watchers:
            self.index.discard(group)
        self.synced_count -= 1
        watcher.stream.unsynced_count += 1
        return 0

    cdef int queue(self, Watcher watcher) except -1:
        if not self.runnable:
            self.on_work()
        self.runnable.append(watcher)
        return 0

    def pump(self):
        """Read history for unsynced watchers, at most PUMP_STEPS_MAX steps.

        Returns whether there is more to do now; the caller then calls again in a later turn.
        """
        cdef Watcher watcher
        cdef Py_ssize_t step
        for step in range(PUMP_STEPS_MAX):
            if not self.runnable:
                return False
            watcher = <Watcher> self.runnable.popleft()
            if watcher.closed:
                continue
            if watcher.stream.sink.pending_bytes > self.budget_bytes:
                watcher.stream.parked.append(watcher)
            else:
                self.catch_up(watcher)
        return bool(self.runnable)

    cdef int catch_up(self, Watcher watcher) except -1:
        """Send one step of history, or make the watcher synced at its end."""
        cdef list events = []
        cdef EventBlock block
        cdef list positions, entries
        cdef Py_ssize_t position
        cdef bytes key, end = watcher.range_end
        if watcher.next_revision <= self.revision:
            try:
                events = self.store.events(watcher.next_revision, self.revision, self.step_bytes)
            except StoreError as error:
                if error.code != ErrorCode.COMPACTED:
                    raise
                self._cancel_compacted(watcher)
                return 0
        if not events:
            watcher.next_revision = max(watcher.next_revision, self.revision + 1)
            watcher.stream.unsynced_count -= 1
            self.make_synced(watcher)
            watcher.stream.send_progress_if_due()
            return 0
        positions = []
        for position in range(len(events)):
            key = <bytes> (<tuple> events[position])[1]
            if end:
                if key >= watcher.key and (end == b"\0" or key < end):
                    positions.append(position)
            elif key == watcher.key:
                positions.append(position)
        if positions:
            block = EventBlock(self.store, events)
            entries = block.select(watcher, positions)
            if entries:
                self.send_events(watcher, self.header(self.revision), entries, b"".join(entries))
        watcher.next_revision = events[len(events) - 1][0] + 1
        self.runnable.append(watcher)
        return 0

    def _cancel_compacted(self, Watcher watcher):
        """End a watcher whose next revision is gone: clients read `compact_revision`, no reason."""
        cdef bytearray tail = bytearray(b"\x20\x01\x28")
        put_varint(tail, <unsigned long long> (<long long> self.store.compact_revision))
        self.remove(watcher)
        watcher.stream.sink.send(self.header(0) + watch_id_field(watcher.watch_id) + bytes(tail))
        watcher.stream.send_progress_if_due()

    cdef int remove(self, Watcher watcher) except -1:
        watcher.closed = True
        if watcher.synced:
            self.make_unsynced(watcher, watcher.next_revision)
        watcher.stream.unsynced_count -= 1
        del watcher.stream.watchers[watcher.watch_id]
        self.notified.pop(watcher, None)
        self.watcher_count -= 1
        return 0

    def notify_progress(self):
        """Tell each synced `progress_notify` watcher that was sent nothing since the last call."""
        cdef Watcher watcher
        for watcher in list(self.notified):
            if (
                watcher.idle
                and watcher.synced
                and watcher.next_revision <= self.revision + 1
                and watcher.stream.sink.pending_bytes <= self.budget_bytes
            ):
                watcher.stream.sink.send(
                    self.header(self.revision) + watch_id_field(watcher.watch_id)
                )
            watcher.idle = True
