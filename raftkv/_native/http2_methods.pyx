"""The routes of the gRPC front end."""


cdef class Method:
    """A path with its handler."""

    def __cinit__(self, bytes path, bint is_streaming, handler):
        self.path = path
        self.is_streaming = is_streaming
        self.handler = handler


cdef class MethodTable:
    """Which handler answers which path, such as b"/etcdserverpb.KV/Put"."""

    def __cinit__(self):
        self.methods = {}
        self.services = set()

    def unary(self, bytes path not None, handler):
        """Route `path` to `handler(stream, message)`, called when the request is complete."""
        self._add(path, False, handler)

    def streaming(self, bytes path not None, open_handler):
        """Route `path` to `open_handler(stream) -> StreamHandler`, called when headers are in."""
        self._add(path, True, open_handler)

    def _add(self, bytes path, bint is_streaming, handler):
        if path.count(b"/") != 2 or not path.startswith(b"/"):
            raise ValueError(f"a gRPC path is /service/method, not {path!r}")
        if path in self.methods:
            raise ValueError(f"{path!r} has a handler already")
        self.methods[path] = Method(path, is_streaming, handler)
        self.services.add(path.split(b"/")[1])

    def refusal(self, bytes path not None):
        """Return the status text for a path without handler, in grpc-go's words."""
        text = path.decode("utf-8", "replace")
        service, separator, method = text.removeprefix("/").rpartition("/")
        if not separator or not text.startswith("/"):
            return f'malformed method name: "{text}"'
        if service.encode() in self.services:
            return f"unknown method {method} for service {service}"
        return f"unknown service {service}"
