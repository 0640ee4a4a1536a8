"""Reading a large range in slices: see `range_reader.pyi` for the contracts.

gRPC wants a message's length before its first byte, so the range is gone through twice: once to
count and measure, once to encode. Every slice opens a cursor of its own at the key after the last
one and reads at the same revision, so what is written or flushed in between does not show.
"""

from libc.stdint cimport uint8_t
from raftkv._native.mvcc_range cimport in_key_order, passes
from raftkv._native.mvcc_request cimport ERROR_COMPACTED, ERROR_FUTURE_REV, parse_range
from raftkv._native.mvcc_view cimport (
    KeyVersion,
    MergeCursor,
    close_merge,
    key_value_size,
    write_key_value,
)
from raftkv._native.wire cimport Span, buffer_free, varint_size, write_varint_field

from raftkv.errors import ErrorCode, StoreError

cdef enum:
    TAG_KVS = 18
    TAG_MORE = 24
    TAG_COUNT = 32


cdef inline Span span_of(bytes data) noexcept:
    cdef Span span
    span.at = <const uint8_t *>data
    span.end = span.at + len(data)
    return span


cdef class RangeReader:
    """One answer to a RangeRequest in the order of keys."""

    def __cinit__(self, MvccStore store not None, bytes message not None, uint64_t raft_term):
        store.check_open()
        self.store = store
        self.message = message
        if (parse_range(span_of(message), &self.request) or self.request.range_end.at == NULL
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

    def measure(self, int64_t keys_max):
        cdef MergeCursor at
        cdef KeyVersion version
        cdef int64_t met = 0
        cdef size_t body
        self.check()
        if self.measured:
            return True
        self.store.view.open_merge(
            &at, span_of(self.next_key), self.request.range_end, self.revision)
        try:
            while met < keys_max:
                if not self.store.view.next_version(&at, &version):
                    self.measured = True
                    break
                met += 1
                self.count += 1
                if met == keys_max:
                    self.next_key = version.key[:version.key_size] + b"\0"
                if self.request.count_only or self.more or not passes(&self.request, &version):
                    continue
                if self.request.limit > 0 and self.wanted == self.request.limit:
                    self.more = True
                    continue
                if not self.request.keys_only:
                    self.store.view.load_value(&version)
                body = key_value_size(&version, not self.request.keys_only)
                self.size += 1 + varint_size(body) + body
                self.wanted += 1
        finally:
            close_merge(&at)
        if self.measured:
            self.size += 2 if self.more else 0
            self.size += 1 + varint_size(<uint64_t>self.count) if self.count else 0
            self.next_key = self.request.key.at[:self.request.key.end - self.request.key.at]
        return self.measured

    def read(self, size_t bytes_wanted, int64_t keys_max):
        cdef MergeCursor at
        cdef KeyVersion version
        cdef int64_t met = 0
        cdef bytes piece
        if not self.measured:
            raise ValueError("a range is measured before it is read")
        if self.ended:
            return None
        self.check()
        if self.header is not None:
            piece, self.header = self.header, None
            return piece
        self.out.size = 0
        self.store.view.open_merge(
            &at, span_of(self.next_key), self.request.range_end, self.revision)
        try:
            while self.sent < self.wanted and self.out.size < bytes_wanted and met < keys_max:
                if not self.store.view.next_version(&at, &version):
                    raise RuntimeError("a range has fewer keys than it had")
                met += 1
                if passes(&self.request, &version):
                    if not self.request.keys_only:
                        self.store.view.load_value(&version)
                    write_key_value(&self.out, TAG_KVS, &version, not self.request.keys_only)
                    self.sent += 1
                self.next_key = version.key[:version.key_size] + b"\0"
        finally:
            close_merge(&at)
        if self.sent == self.wanted:
            write_varint_field(&self.out, TAG_MORE, self.more)
            write_varint_field(&self.out, TAG_COUNT, <uint64_t>self.count)
            self.ended = True
        return self.out.data[:self.out.size]
