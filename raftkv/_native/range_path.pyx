"""Ranges that nothing is special about, answered without a Python function; see the .pxd."""

from cpython.list cimport PyList_GET_SIZE

from raftkv._native.http2_stream cimport Stream
from raftkv._native.mvcc_request cimport RangeRequest, check_range_request, parse_range
from raftkv._native.wire cimport span_of

__all__ = ["RangePath"]


cdef class RangePath:
    """A unary handler. What it does not see to itself, it leaves to `slow_handle` and `slow_serve`.

    Those are the plain twins: they answer everything, and equally.
    """

    def __cinit__(
        self, store, node, auth, alarms, reads, Py_ssize_t reads_max, wake, serve_now,
        budget, slow_handle, slow_serve,
    ):
        self.store = store
        self.node = node
        self.auth = auth
        self.alarms = alarms
        self.member_id = node.id
        self.reads = reads
        self.waiting = reads.waiting
        self.waiting_max = reads_max // 2
        self.wake = wake
        self.serve_now = serve_now
        self.budget = budget
        self.slow_handle = slow_handle
        self.slow_serve = slow_serve
        self.own_serve = self.serve

    cdef bint is_open(self) except -1:
        """Whether this member serves whoever asks."""
        cdef object configuration
        if self.auth.stamp is not None or self.alarms.is_corrupt or not self.node.leader_id:
            return False
        configuration = self.node.configuration
        if configuration is not self.configuration:
            self.votes = self.member_id in configuration.all_voters
            self.configuration = configuration
        return self.votes

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
