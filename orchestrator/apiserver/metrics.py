"""The API server's metrics, under Kubernetes' names."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One server's counters, in a registry of their own so that several servers may share a
    process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "apiserver_request",
            "Requests answered",
            ["verb", "group", "version", "resource", "subresource", "code"],
            registry=self._registry,
        )
        self.duration = Histogram(
            "apiserver_request_duration_seconds",
            "Time to answer, watches and log streams excluded",
            ["verb"],
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "apiserver_current_inflight_requests",
            "Requests being served",
            ["request_kind"],
            registry=self._registry,
        )
        self.watchers = Gauge(
            "apiserver_longrunning_requests",
            "Watches and log streams being served",
            registry=self._registry,
        )

    def render(self) -> bytes:
        return generate_latest(self._registry)
