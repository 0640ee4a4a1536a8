"""The routes of the gRPC front end, and the counts behind its metrics."""

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency buckets, in seconds; as go-grpc-prometheus has them."""

cdef double[LATENCY_BUCKETS - 1] bounds
for place, bound in enumerate(BOUNDS_S):
    bounds[place] = bound


cdef double now_s() noexcept nogil:
    """The clock by which calls are timed, in seconds."""
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


cdef class Method:
    """A path with its handler. The counts are of this process's life."""

    def __cinit__(self, bytes path, bint is_streaming, handler, large_handler):
        self.path = path
        self.is_streaming = is_streaming
        self.handler = handler
        self.large_handler = large_handler

    cdef int count_end(self, int code, double began_s) noexcept:
        """Count one call that ended with `code`, begun at `began_s` of `now_s`."""
        cdef double seconds = now_s() - began_s
        cdef int bucket = 0
        while bucket < LATENCY_BUCKETS - 1 and seconds > bounds[bucket]:
            bucket += 1
        self.latency[bucket] += 1
        self.latency_sum_s += seconds
        self.handled[code if 0 <= code < STATUS_CODES else 2] += 1
        return 0

    def begin(self):
        """Count a call made inside this process; returns what `end` wants."""
        self.started += 1
        return now_s()

    def took(self):
        """Count a message of such a call's client."""
        self.received += 1

    def gave(self):
        """Count a message to such a call's client."""
        self.sent += 1

    def end(self, int code, double began_s):
        """Count the end of such a call."""
        self.count_end(code, began_s)

    def handled_by_code(self):
        """Return status code -> calls that ended with it, without the zeros."""
        return {code: self.handled[code] for code in range(STATUS_CODES) if self.handled[code]}

    def latency_counts(self):
        """Return how many calls ended within each of `BOUNDS_S`, and last the slower ones."""
        return [self.latency[bucket] for bucket in range(LATENCY_BUCKETS)]


cdef class MethodTable:
    """Which handler answers which path, such as b"/etcdserverpb.KV/Put"."""

    def __cinit__(self):
        self.methods = {}
        self.services = set()

    def unary(self, bytes path not None, handler, large_handler=None):
        """Route `path` to `handler(stream, message)`, called when the request is complete.

        `large_handler` is given those large messages instead that it wants with headroom.
        """
        self._add(path, False, handler, large_handler)

    def streaming(self, bytes path not None, open_handler):
        """Route `path` to `open_handler(stream) -> StreamHandler`, called when headers are in."""
        self._add(path, True, open_handler, None)

    def _add(self, bytes path, bint is_streaming, handler, large_handler):
        if path.count(b"/") != 2 or not path.startswith(b"/"):
            raise ValueError(f"a gRPC path is /service/method, not {path!r}")
        if path in self.methods:
            raise ValueError(f"{path!r} has a handler already")
        self.methods[path] = Method(path, is_streaming, handler, large_handler)
        self.services.add(path.split(b"/")[1])

    def find(self, bytes path not None):
        """Return the Method of a path, or None."""
        return self.methods.get(path)

    def all(self):
        """Return every Method."""
        return list(self.methods.values())

    def refusal(self, bytes path not None):
        """Return the status text for a path without handler, in grpc-go's words."""
        text = path.decode("utf-8", "replace")
        service, separator, method = text.removeprefix("/").rpartition("/")
        if not separator or not text.startswith("/"):
            return f'malformed method name: "{text}"'
        if service.encode() in self.services:
            return f"unknown method {method} for service {service}"
        return f"unknown service {service}"
