"""Reading a large range in slices: see `range_reader.pyi` for the contracts.

gRPC wants a message's length before its first byte, so the range is gone through twice: once to
count and measure, once to encode. Every slice opens a cursor of its own at the key after the last
one and reads at the same revision, so what is written or flushed in between does not show.
"""

from libc.stdint cimport uint8_t
from raftkv._native.count_walk cimport begin_count
from raftkv._native.mvcc_range cimport (
    AT_ONCE_KEYS,
    FIND_END,
    Part,
    find_next,
    in_key_order,
    passes,
    write_part,
)
from raftkv._native.mvcc_request cimport ERROR_COMPACTED, ERROR_FUTURE_REV, parse_range
from raftkv._native.mvcc_view cimport (
    KeyVersion,
    MergeCursor,
    close_merge,
    key_value_size,
)
from raftkv._native.wire cimport Span, buffer_free, span_of, varint_size, write_varint_field

from raftkv.errors import ErrorCode, StoreError

cdef enum:
    TAG_KVS = 18
    TAG_MORE = 24
    TAG_COUNT = 32


cdef class RangeReader:
    """One answer to a RangeRequest in the order of keys."""

    def __cinit__(self, MvccStore store not None, bytes message not None, uint64_t raft_term):
        store.check_open()
        self.store = store
        self.message = message
        if (parse_range(span_of(message), &self.request)
                or self.request.range_end.at == self.request.range_end.end
                or not (in_key_order(&self.request) or self.request.count_only)):
            raise ValueError("not a range in the order of keys")
        if self.request.revision > store.executor.revision:
            raise StoreError(ErrorCode(ERROR_FUTURE_REV))
        self.revision = (
            self.request.revision if self.request.revision > 0 else store.executor.revision)
        self.next_key = self.request.key.at[:self.request.key.end - self.request.key.at]
        store.executor.raft_term = raft_term
        store.executor.write_header(&self.out, store.executor.revision, True)
        self.header = self.out.data[:self.out.size]
        self.out.size = 0
        self.size = len(self.header)
        if self.request.count_only:
            self.walk = begin_count(
                store.view, self.request.key, True, self.request.range_end, self.revision)
        self.check()

    def __dealloc__(self):
        buffer_free(&self.out)

    @property
    def is_of_named_revision(self):
        return self.request.revision > 0

    cdef int check(self) except -1:
        """Raise where the revision can be read no more."""
        self.store.check_open()
        if self.revision < self.store.executor.compact_revision:
            raise StoreError(ErrorCode(ERROR_COMPACTED))
        return 0

    cdef int64_t meet(self, MergeCursor *at, int64_t keys_max) except -1:
        """Measure what is to be sent: up to `keys_max` keys. Returns how many it met."""
        cdef KeyVersion version
        cdef int64_t met = 0
        cdef Span key
        cdef size_t body
        while met < keys_max and self.walk is None:
            if not self.store.view.next_version(at, &version):
                self.measured = True
                break
            met += 1
            if not passes(&self.request, &version):
                continue
            if self.request.limit > 0 and self.wanted == self.request.limit:
                self.more = True
                key.at = version.key
                key.end = key.at + version.key_size
                self.walk = begin_count(
                    self.store.view, key, False, self.request.range_end, self.revision)
                continue
            if not self.request.keys_only:
                self.store.view.load_size(&version)
            body = key_value_size(&version, not self.request.keys_only)
            self.size += 1 + varint_size(body) + body
            self.wanted += 1
        return met

    def measure(self, int64_t keys_max):
        cdef MergeCursor at
        cdef int64_t met
        self.check()
        if self.measured:
            return True
        self.store.view.open_merge(
            &at, span_of(self.next_key), self.request.range_end, self.revision)
        try:
            met = self.meet(&at, keys_max)
            self.count += met
            if self.walk is not None and met < keys_max:
                self.measured = self.walk.step(&at, keys_max - met)
            if not self.measured:
                self.go_on_at(&at)
        finally:
            close_merge(&at)
        if self.measured:
            if self.walk is not None:
                self.count += self.walk.total()
                self.walk = None
            self.size += 2 if self.more else 0
            self.size += 1 + varint_size(<uint64_t>self.count) if self.count else 0
            self.next_key = self.request.key.at[:self.request.key.end - self.request.key.at]
        return self.measured

    cdef int go_on_at(self, MergeCursor *at) except -1:
        """Let the next slice begin where this cursor stands."""
        cdef const uint8_t *key
        cdef size_t size
        if self.store.view.next_key(at, &key, &size):
            self.next_key = key[:size]
        elif self.walk is not None:
            self.measured = self.walk.step(at, 1)
        else:
            self.measured = True
        return 0

    def read(self, size_t bytes_wanted, int64_t keys_max):
        cdef MergeCursor at
        cdef Part part
        cdef bytes piece
        if not self.measured:
            raise ValueError("a range is measured before it is read")
        if self.ended:
            return None
        self.check()
        if self.header is not None:
            piece, self.header = self.header, None
            return piece
        self.out.size = part.size = part.bytes = 0
        self.store.view.open_merge(
            &at, span_of(self.next_key), self.request.range_end, self.revision)
        try:
            while (keys_max > 0 and self.sent + part.size < self.wanted
                   and self.out.size + part.bytes < bytes_wanted):
                keys_max -= 1
                if find_next(self.store.view, &self.request, &at, &part) == FIND_END:
                    raise RuntimeError("a range has fewer keys than it had")
                if part.size == AT_ONCE_KEYS:
                    self.sent += part.size
                    write_part(self.store.view, &self.request, &part, &self.out)
            self.sent += part.size
            write_part(self.store.view, &self.request, &part, &self.out)
            if self.sent < self.wanted:
                self.go_on_at(&at)
        finally:
            close_merge(&at)
        if self.sent == self.wanted:
            write_varint_field(&self.out, TAG_MORE, self.more)
            write_varint_field(&self.out, TAG_COUNT, <uint64_t>self.count)
            self.ended = True
        return self.out.data[:self.out.size]
