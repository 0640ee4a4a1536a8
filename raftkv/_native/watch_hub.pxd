"""Watchers, where they are looked up, and the hub that feeds them."""


cdef class Watcher:
    cdef readonly long long watch_id
    cdef readonly bytes key
    cdef readonly bytes range_end
    # While unsynced: the first revision not yet sent. While synced: events below it are skipped.
    cdef readonly long long next_revision
    cdef readonly bint synced
    cdef bint prev_kv
    cdef bint no_put
    cdef bint no_delete
    cdef bint fragment
    cdef bint progress_notify
    # Nothing was sent since the last progress round.
    cdef bint idle
    cdef bint closed
    cdef WatchStream stream
    cdef WatcherGroup group


cdef class WatcherGroup:
    # Every synced watcher of one key or range.
    cdef bytes key
    cdef bytes range_end
    # Watcher -> None, in the order of creation.
    cdef dict watchers
    # Positions of the events of the publish under way that concern the group.
    cdef list hits


cdef class WatcherIndex:
    cdef dict single
    # Length of a prefix -> prefix -> group: a range that is exactly one prefix needs no search.
    cdef dict prefixes
    # Other ranges, sorted by their first key; `starts` holds those keys.
    cdef list ranges
    cdef list starts
    cdef readonly Py_ssize_t group_count

    cdef WatcherGroup group_for(self, bytes key, bytes range_end)
    cdef int discard(self, WatcherGroup group) except -1
    cdef list groups(self)
    cdef int mark(self, bytes key, Py_ssize_t position, list touched) except -1


cdef class WatchStream:
    cdef WatchHub hub
    cdef object sink
    # Watch id -> Watcher.
    cdef dict watchers
    # Unsynced watchers that wait until the sink has drained.
    cdef list parked
    cdef Py_ssize_t unsynced_count
    cdef long long next_id
    cdef bint progress_wanted
    cdef bint closed

    cdef int send_progress_if_due(self) except -1


cdef class WatchHub:
    cdef object store
    cdef object on_work
    cdef unsigned long long cluster_id
    cdef unsigned long long member_id
    cdef Py_ssize_t budget_bytes
    cdef Py_ssize_t step_bytes
    cdef Py_ssize_t fragment_bytes
    cdef WatcherIndex index
    # Unsynced watchers whose sink has room, oldest first.
    cdef object runnable
    cdef dict notified
    cdef readonly long long revision
    cdef public unsigned long long raft_term
    cdef readonly Py_ssize_t synced_count
    cdef readonly Py_ssize_t watcher_count
    cdef readonly Py_ssize_t stream_count
    cdef readonly unsigned long long events_sent

    cdef bytes header(self, long long revision)
    cdef int fan_out(self, list events, long long first, long long last) except -1
    cdef int deliver(self, WatcherGroup group, EventBlock block, long long first,
                     bytes header) except -1
    cdef int send_events(self, Watcher watcher, bytes header, list entries, bytes body) except -1
    cdef int start(self, Watcher watcher) except -1
    cdef int catch_up(self, Watcher watcher) except -1
    cdef int make_synced(self, Watcher watcher) except -1
    cdef int make_unsynced(self, Watcher watcher, long long next_revision) except -1
    cdef int queue(self, Watcher watcher) except -1
    cdef int remove(self, Watcher watcher) except -1


cdef class EventBlock:
    # Events of one publish or one catch-up step, each encoded once per form.
    cdef object store
    cdef readonly list events
    cdef list plain
    cdef list with_previous

    cdef bytes entry(self, Py_ssize_t position, bint prev_kv)
    cdef list select(self, Watcher watcher, list positions)
