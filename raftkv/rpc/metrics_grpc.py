"""The metrics of calls, by service and method, as go-grpc-prometheus names them."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from raftkv._native.http2 import MethodTable, Server
from raftkv._native.http2_methods import BOUNDS_S, Method
from raftkv.distribution import Distribution
from raftkv.metrics import Family, counter, histogram

__all__ = ["CallMetrics"]

CODES = (
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
)
"""Status codes as grpc-go spells them, in their order."""

STREAM_APIS = {b"/etcdserverpb.Watch/Watch": "watch"}
STREAM_APIS[b"/etcdserverpb.Lease/LeaseKeepAlive"] = "lease-keepalive"


class CallMetrics:
    """What clients asked of one member, read from the counts of its method table."""

    def __init__(self, methods: MethodTable, *, is_extensive: bool) -> None:
        """`is_extensive`: show durations, too."""
        self._methods = methods
        self._is_extensive = is_extensive
        self.servers: tuple[Server, ...] = ()
        """The servers whose bytes are counted."""

    def families(self) -> Iterator[Family]:
        """Yield what is known now."""
        methods = sorted(self._methods.all(), key=lambda method: method.path)
        yield from _by_method(methods)
        if self._is_extensive:
            durations = histogram(
                "grpc_server_handling_seconds", "Duration of calls until their end."
            )
            for method in methods:
                values = Distribution.of(BOUNDS_S, method.latency_counts(), method.latency_sum_s)
                durations.add_distribution(values, **_labels(method))
            yield durations
        yield from _by_kind(methods)
        yield counter(
            "etcd_network_client_grpc_received_bytes_total",
            "Bytes that HTTP/2 clients sent, headers and frames included.",
            sum(server.received_bytes for server in self.servers),
        )
        yield counter(
            "etcd_network_client_grpc_sent_bytes_total",
            "Bytes sent to HTTP/2 clients, headers and frames included.",
            sum(server.sent_bytes for server in self.servers),
        )

    def handled(self, path: bytes) -> dict[int, int]:
        """Return status code -> calls of a method that ended with it."""
        method = self._methods.find(path)
        return {} if method is None else method.handled_by_code()

    def durations(self, path: bytes) -> Distribution:
        """Return how long calls of a method took."""
        method = self._methods.find(path)
        if method is None:
            return Distribution(BOUNDS_S)
        return Distribution.of(BOUNDS_S, method.latency_counts(), method.latency_sum_s)


def _by_method(methods: list[Method]) -> Iterator[Family]:
    started = counter("grpc_server_started_total", "Calls begun.")
    handled = counter("grpc_server_handled_total", "Calls ended, by status.")
    received = counter("grpc_server_msg_received_total", "Messages of clients.")
    sent = counter("grpc_server_msg_sent_total", "Messages to clients.")
    for method in methods:
        labels = _labels(method)
        started.add(method.started, **labels)
        received.add(method.received, **labels)
        sent.add(method.sent, **labels)
        for code, count in {0: 0, **method.handled_by_code()}.items():
            handled.add(count, grpc_code=CODES[code], **labels)
    yield from (started, handled, received, sent)


def _by_kind(methods: list[Method]) -> Iterator[Family]:
    """Yield etcd's own counts of calls."""
    requests = counter(
        "etcd_server_client_requests_total",
        "Calls begun; clients' API versions are not told apart.",
    )
    for kind, is_streaming in (("stream", True), ("unary", False)):
        count = sum(method.started for method in methods if method.is_streaming is is_streaming)
        requests.add(count, type=kind, client_api_version="unknown")
    failures = counter(
        "etcd_network_server_stream_failures_total",
        "Streams ended with an error other than cancellation; which side failed is not told apart.",
    )
    for method in methods:
        if method.path in STREAM_APIS:
            count = sum(n for code, n in method.handled_by_code().items() if code > 1)
            failures.add(count, API=STREAM_APIS[method.path], Type="send")
    yield from (requests, failures)


def _labels(method: Method) -> dict[str, str]:
    service, _, name = method.path.decode().removeprefix("/").partition("/")
    return {"grpc_type": _kind(method, service, name), "grpc_service": service, "grpc_method": name}


def _kind(method: Method, service: str, name: str) -> str:
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name.get(name)
    except KeyError:
        found = None
    if isinstance(found, MethodDescriptor):
        kinds = {
            (False, False): "unary",
            (False, True): "server_stream",
            (True, False): "client_stream",
            (True, True): "bidi_stream",
        }
        return kinds[found.client_streaming, found.server_streaming]
    return "bidi_stream" if method.is_streaming else "unary"
