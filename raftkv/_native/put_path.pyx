"""Puts that nothing is special about, gathered without a Python function; see the .pxd."""

from raftkv._native.command_batch cimport CommandBatch, HEADROOM_BYTES
from raftkv._native.http2_stream cimport Stream
from raftkv._native.kv_path cimport KvPath
from raftkv._native.mvcc_request cimport check_put_request
from raftkv._native.padded_message cimport PaddedMessage
from raftkv._native.wire cimport Span, span_of, span_size

__all__ = ["PutPath"]


cdef class PutPath(KvPath):
    """The path of KV.Put."""

    def __init__(self, member, slow_handle, Py_ssize_t request_bytes_max):
        KvPath.__init__(self, member, slow_handle)
        self.proposals = member.proposals
        self.quota = member.quota
        self.wake = member.wake
        self.request_bytes_max = request_bytes_max
        self.batch_bytes_max = member.proposals.limits.batch_bytes_max

    cdef bint is_admitted(self, Py_ssize_t size) except -1:
        """Whether a put of so many bytes is far from the quota."""
        if self.alarms.is_out_of_space:
            return False
        if size > RESERVED_BYTES:
            return self.quota.reserve(size)
        if size > self.reserved:
            if not self.quota.reserve(RESERVED_BYTES):
                return False
            self.reserved = RESERVED_BYTES
        self.reserved -= size
        return True

    cdef CommandBatch batch_for(self, stream, Span request):
        """Return the batch that a put may be added to, or None if it has to go the slow way."""
        cdef Py_ssize_t size = span_size(request)
        cdef CommandBatch batch
        if (
            type(stream) is not Stream
            or size > self.request_bytes_max
            or check_put_request(request)
            or not self.is_open()
            or not self.is_admitted(size)
        ):
            return None
        batch = self.proposals.gathering
        if batch.size_bytes == 0 and not self.proposals.has_room:
            return None
        return batch

    cdef int added(self, CommandBatch batch) except -1:
        """Count a put, and see to it that its batch goes on its way."""
        self.count += 1
        if batch.size_bytes >= self.batch_bytes_max:
            self.proposals.close_batch()
        if len(batch.waiters) == 1:
            self.wake()
        return 0

    def __call__(self, stream, bytes message not None):
        """Take a PutRequest: have it proposed with what else comes in this turn."""
        cdef CommandBatch batch = self.batch_for(stream, span_of(message))
        if batch is None:
            self.slow_handle(stream, message)
            return
        batch.add(KIND_PUT, message, stream)
        self.added(batch)

    def headroom(self, Py_ssize_t size):
        """Return what a batch needs in front of a large put; 0 where it would go the slow way."""
        return HEADROOM_BYTES if size <= self.request_bytes_max and self.is_open() else 0

    def on_large(self, stream, PaddedMessage message not None):
        """Take a PutRequest that may become a batch as it is."""
        cdef Span request = message.span()
        cdef Py_ssize_t size = span_size(request)
        cdef CommandBatch batch = self.batch_for(stream, request)
        if batch is None:
            self.slow_handle(stream, message.message())
            return
        if batch.size_bytes > 0 and size >= self.batch_bytes_max:
            self.proposals.close_batch()     # alone it fills a batch, and is not copied into it
            batch = self.proposals.gathering
        batch.add_padded(KIND_PUT, message, stream)
        self.added(batch)
