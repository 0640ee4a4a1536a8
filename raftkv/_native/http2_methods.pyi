"""Which handler answers which gRPC path."""

from collections.abc import Callable

from raftkv._native.http2_handler import StreamHandler
from raftkv._native.http2_stream import Stream

class MethodTable:
    """Routes of a server; paths are like b"/etcdserverpb.KV/Put". ValueError for a second route."""

    def unary(self, path: bytes, handler: Callable[[Stream, bytes], object]) -> None: ...
    def streaming(self, path: bytes, open_handler: Callable[[Stream], StreamHandler]) -> None: ...
    def refusal(self, path: bytes) -> str: ...
