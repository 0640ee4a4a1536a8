"""Ranges that nothing is special about, answered without a Python function; see the .pxd."""

from cpython.list cimport PyList_GET_SIZE

from raftkv._native.http2_stream cimport Stream
from raftkv._native.kv_path cimport KvPath
from raftkv._native.mvcc_request cimport RangeRequest, check_range_request, parse_range
from raftkv._native.wire cimport span_of

__all__ = ["RangePath"]


cdef class RangePath(KvPath):
    """The path of KV.Range."""

    def __init__(self, member, slow_handle, store, Py_ssize_t reads_max, budget, serve_now,
                 slow_serve):
        KvPath.__init__(self, member, slow_handle)
        self.store = store
        self.reads = member.reads
        self.waiting = member.reads.waiting
        self.waiting_max = reads_max // 2
        self.wake = member.wake
        self.budget = budget
        self.serve_now = serve_now
        self.slow_serve = slow_serve
        self.own_serve = self.serve

    cdef bint is_full(self) except -1:
        """Whether too many reads wait: looked at as the list begins to fill, and as it ends to."""
        cdef Py_ssize_t size = PyList_GET_SIZE(self.waiting)
        if size == 0:
            return self.reads.count >= self.waiting_max
        return size >= self.waiting_max

    def __call__(self, stream, bytes message not None):
        """Take a RangeRequest: have it wait for a round, or answer it where it is serializable."""
        cdef RangeRequest request
        if (
            type(stream) is not Stream
            or check_range_request(span_of(message))
            or self.is_full()
            or not self.is_open()
        ):
            self.slow_handle(stream, message)
            return
        self.count += 1
        parse_range(span_of(message), &request)
        if request.serializable:
            self.serve_now(self.own_serve, stream, message)
            return
        self.waiting.append((self.own_serve, stream, message))
        if PyList_GET_SIZE(self.waiting) == 1:
            self.wake()

    def serve(self, waiter, bytes request not None):
        """Answer from the store, as of now."""
        if type(waiter) is not Stream or self.auth.stamp is not None or self.budget.must_wait():
            self.slow_serve(waiter, request)
            return
        answer = self.store.small_range(request, self.node.term)
        if type(answer) is not bytes:
            self.slow_serve(waiter, request)
            return
        self.unreported += len(<bytes> answer)
        if self.unreported >= REPORT_BYTES:
            size, self.unreported = self.unreported, 0
            self.budget.spend(size)
        (<Stream> waiter).reply(<bytes> answer)
