"""Puts that nothing is special about, gathered without a Python function; see the .pxd."""

from raftkv._native.command_batch cimport CommandBatch
from raftkv._native.http2_stream cimport Stream
from raftkv._native.kv_path cimport KvPath
from raftkv._native.mvcc_request cimport check_put_request
from raftkv._native.wire cimport span_of

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
        if size > self.reserved:
            if size > RESERVED_BYTES or not self.quota.reserve(RESERVED_BYTES):
                return False
            self.reserved = RESERVED_BYTES
        self.reserved -= size
        return True

    def __call__(self, stream, bytes message not None):
        """Take a PutRequest: have it proposed with what else comes in this turn."""
        cdef Py_ssize_t size = len(message)
        cdef CommandBatch batch
        if (
            type(stream) is not Stream
            or size > self.request_bytes_max
            or check_put_request(span_of(message))
            or not self.is_open()
            or not self.is_admitted(size)
        ):
            self.slow_handle(stream, message)
            return
        batch = self.proposals.gathering
        if batch.size_bytes == 0 and not self.proposals.has_room:
            self.slow_handle(stream, message)
            return
        self.count += 1
        batch.add(KIND_PUT, message, stream)
        if batch.size_bytes >= self.batch_bytes_max:
            self.proposals.close_batch()
        if len(batch.waiters) == 1:
            self.wake()
