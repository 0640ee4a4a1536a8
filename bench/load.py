"""Load by h2load (package nghttp2-client): closed loop, constant requests over HTTP/2."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass

from raftkv.pb.etcd import rpc_pb2 as pb

KEY = b"bench/key-000000"
VALUE = bytes(range(256))


@dataclass(frozen=True, slots=True)
class Shape:
    """How many requests are under way at once: connections × streams of each."""

    connections: int
    streams: int

    @property
    def in_flight(self) -> int:
        return self.connections * self.streams


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of h2load printed."""

    requests_per_s: float
    mean_ms: float


PUT = ("/etcdserverpb.KV/Put", pb.PutRequest(key=KEY, value=VALUE).SerializeToString())
LINEARIZABLE_RANGE = ("/etcdserverpb.KV/Range", pb.RangeRequest(key=KEY).SerializeToString())
SERIALIZABLE_RANGE = (
    "/etcdserverpb.KV/Range",
    pb.RangeRequest(key=KEY, serializable=True).SerializeToString(),
)


def run(endpoint: str, request: tuple[str, bytes], shape: Shape, count: int) -> Measured:
    """Send `count` requests; raises RuntimeError unless every one was answered by HTTP 200.

    h2load does not look at gRPC's status: the caller checks the effect (`bench.suite`).
    """
    path, message = request
    with tempfile.NamedTemporaryFile() as body:
        body.write(struct.pack(">BI", 0, len(message)) + message)
        body.flush()
        command = [
            "h2load",
            f"-n{count}",
            f"-c{shape.connections}",
            f"-m{shape.streams}",
            f"-d{body.name}",
            "-Hcontent-type: application/grpc",
            "-Hte: trailers",
            f"http://{endpoint}{path}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return parse(done.stdout, count)


def parse(text: str, count: int) -> Measured:
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    answered = re.search(r"status codes: (\d+) 2xx", text)
    request = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", text)
    if not rate or not answered or not request or int(answered[1]) != count:
        raise RuntimeError(f"h2load did not get {count} answers:\n{text}")
    unit_ms = {"us": 0.001, "ms": 1.0, "s": 1000.0}[request[2]]
    return Measured(float(rate[1]), float(request[1]) * unit_ms)
