"""The configuration of one member: a frozen value, checked once at the edge.

Nothing below `raftkv.cli` reads arguments or the environment.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from raftkv.auth_config import AuthConfig, auth_from_flags
from raftkv.feature_gates import parse_feature_gates
from raftkv.flags import FlagError, Value, parse_duration_s
from raftkv.http_config import HttpConfig, http_from_flags
from raftkv.log_output import LEVELS, LogConfig, parse_rotation
from raftkv.rate_limit import RateLimitConfig, parse_prefix_limits, parse_rate_limit
from raftkv.tls.from_flags import client_tls, peer_tls, tls_rules
from raftkv.tls.settings import TlsSettings

__all__ = [
    "ClusterConfig",
    "CompactionMode",
    "Config",
    "Endpoint",
    "KeepAlive",
    "ReconfigurationRules",
    "build_config",
]

QUOTA_BYTES = 2 << 30
"""The quota where none is given."""

REQUEST_OVERHEAD_BYTES = 512 * 1024
"""What a gRPC message may exceed `max_request_bytes` by, as in etcd."""

UNIX_SCHEMES = frozenset({"unix", "unixs"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listening or advertised address: the URL as given, its host and its port.

    The host of a Unix socket is its path, and its port 0.
    """

    url: str
    host: str
    port: int

    @property
    def is_tls(self) -> bool:
        """Say whether TLS is spoken there."""
        return self.url.startswith(("https://", "unixs://"))

    @property
    def is_unix(self) -> bool:
        """Say whether it is a Unix socket."""
        return self.url.startswith(("unix://", "unixs://"))


@dataclass(frozen=True, slots=True)
class CompactionMode:
    """Automatic compaction. Exactly one of the two is above zero, or both are zero: off."""

    period_s: float = 0.0
    """Keep this much history, in seconds."""
    revisions: int = 0
    """Keep this many revisions."""


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """What all members must agree on."""

    members: Mapping[str, tuple[str, ...]]
    """Name -> peer URLs, sorted, of every member."""
    token: str
    existing: bool
    """Whether the cluster is already running and this member is not to start it."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """HTTP/2 pings on the clients' port, in seconds."""

    interval_min_s: float = 5.0
    """Clients that ping more often, with nothing else to say, are sent away."""
    interval_s: float = 7200.0
    """A client that has said nothing for this long is pinged; 0: never."""
    timeout_s: float = 20.0
    """A client that says nothing for this long after a ping is gone."""


@dataclass(frozen=True, slots=True)
class ReconfigurationRules:
    """What is allowed when the membership changes."""

    strict: bool = True
    """Refuse changes that could cost the quorum with the members that run now."""
    learners_max: int = 1


@dataclass(frozen=True, slots=True)
class Config:
    """What one member needs to know. Durations in seconds, sizes in bytes."""

    name: str
    data_dir: Path
    listen_client: tuple[Endpoint, ...]
    advertise_client_urls: tuple[str, ...]
    listen_peer: Endpoint
    listen_metrics: tuple[Endpoint, ...]
    cluster: ClusterConfig
    heartbeat_interval_s: float = 0.1
    election_ticks: int = 10
    """Heartbeat intervals in one election timeout."""
    snapshot_count: int = 10000
    snapshot_catchup_entries: int = 5000
    snapshot_bytes_per_s: int = 16 << 20
    reconfiguration: ReconfigurationRules = ReconfigurationRules()
    corrupt_check_s: float = 0.0
    """Time between two comparisons of the members' states; 0: never."""
    quota_bytes: int = 0
    """Bytes in use beyond which writes are refused; 0: no quota."""
    txn_ops_max: int = 128
    request_bytes_max: int = 1536 * 1024
    concurrent_streams_max: int = 4294967295
    progress_notify_interval_s: float = 600.0
    compaction: CompactionMode = CompactionMode()
    pre_vote: bool = True
    log: LogConfig = field(default_factory=LogConfig)
    warning_apply_s: float = 0.1
    """Applying committed entries is worth a warning where it takes longer in one turn."""
    force_new_cluster: bool = False
    """Go on as the only member, from this member's data."""
    initial_corrupt_check: bool = False
    """Compare hashes with the other members before serving."""
    client_tls: TlsSettings = field(default_factory=TlsSettings)
    peer_tls: TlsSettings = field(default_factory=TlsSettings)
    keep_alive: KeepAlive = KeepAlive()
    rate_limits: RateLimitConfig = field(default_factory=RateLimitConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    listen_peer_too: tuple[Endpoint, ...] = ()
    """Where other members are listened for besides `listen_peer`."""
    listen_http: tuple[Endpoint, ...] = ()
    """Where HTTP other than gRPC is served; empty: where gRPC is."""
    http: HttpConfig = field(default_factory=HttpConfig)

    @property
    def election_timeout_s(self) -> float:
        """The shortest time without a leader before an election."""
        return self.heartbeat_interval_s * self.election_ticks

    @property
    def request_timeout_s(self) -> float:
        """How long a request may wait for consensus: etcd's five seconds and two elections."""
        return 5.0 + 2 * self.election_timeout_s


def build_config(values: Mapping[str, Value]) -> Config:
    """Turn flag values into a Config. Raises FlagError with every problem at once."""
    return _Builder(values).build()


class _Builder:
    """Collects problems while it reads; each reader returns something usable even after one."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values
        self.problems: list[str] = []
        self.gates: dict[str, bool] = {}

    def build(self) -> Config:
        self.gates = self.feature_gates()
        name = self.text("name")
        listen_client = self.endpoints("listen-client-urls")
        advertised = self.endpoints("advertise-client-urls") or listen_client
        listen_peer = self.endpoints("listen-peer-urls")
        if not listen_client:
            self.problem("listen-client-urls", "needs at least one URL")
        rules = tls_rules(self.values, self.problem)
        cluster = self.cluster(name)
        heartbeat_ms, ticks = self.timing()
        config = Config(
            name=name,
            data_dir=Path(self.text("data-dir") or f"{name}.raftkv"),
            listen_client=listen_client,
            advertise_client_urls=tuple(endpoint.url for endpoint in advertised),
            listen_peer=listen_peer[0] if listen_peer else Endpoint("", "", 0),
            listen_peer_too=listen_peer[1:],
            listen_metrics=self.endpoints("listen-metrics-urls"),
            cluster=cluster,
            heartbeat_interval_s=heartbeat_ms / 1000,
            election_ticks=ticks,
            snapshot_count=self.number("snapshot-count", 1),
            snapshot_catchup_entries=self.number("snapshot-catchup-entries", 1),
            snapshot_bytes_per_s=self.number("snapshot-send-rate", 1024),
            reconfiguration=ReconfigurationRules(
                cast(bool, self.values["strict-reconfig-check"]),
                self.number("max-learners", 0),
            ),
            corrupt_check_s=self.corrupt_check_s(),
            quota_bytes=self.quota_bytes(),
            txn_ops_max=self.number("max-txn-ops", 1),
            request_bytes_max=self.number("max-request-bytes", 1, 512 << 20),
            concurrent_streams_max=self.number("max-concurrent-streams", 1, 0xFFFFFFFF),
            progress_notify_interval_s=max(
                0.1, cast(float, self.values["watch-progress-notify-interval"])
            ),
            compaction=self.compaction(),
            pre_vote=cast(bool, self.values["pre-vote"]),
            log=self.log(),
            warning_apply_s=cast(float, self.values["warning-apply-duration"]),
            force_new_cluster=cast(bool, self.values["force-new-cluster"]),
            initial_corrupt_check=self.gate("initial-corrupt-check", "InitialCorruptCheck"),
            client_tls=client_tls(self.values, rules, self.problem),
            peer_tls=peer_tls(self.values, rules, self.problem),
            auth=auth_from_flags(self.values, self.problem),
            listen_http=self.endpoints("listen-client-http-urls"),
            http=http_from_flags(self.values, self.problem),
            rate_limits=self.rate_limits(),
            keep_alive=KeepAlive(
                self.seconds("grpc-keepalive-min-time"),
                self.seconds("grpc-keepalive-interval"),
                self.seconds("grpc-keepalive-timeout"),
            ),
        )
        self.certificates(config)
        if self.problems:
            raise FlagError(self.problems)
        return config

    def certificates(self, config: Config) -> None:
        """Refuse listeners that speak TLS and have no certificate."""
        for flag, endpoints, tls, prefix in (
            ("listen-client-urls", config.listen_client, config.client_tls, ""),
            ("listen-metrics-urls", config.listen_metrics, config.client_tls, ""),
            ("listen-client-http-urls", config.listen_http, config.client_tls, ""),
            (
                "listen-peer-urls",
                (config.listen_peer, *config.listen_peer_too),
                config.peer_tls,
                "peer-",
            ),
        ):
            lacks = not tls.has_certificate and not tls.automatic
            for endpoint in endpoints:
                if endpoint.is_tls and lacks:
                    self.problem(
                        flag,
                        f"{endpoint.url!r} needs --{prefix}cert-file and --{prefix}key-file, or"
                        f" --{prefix}auto-tls",
                    )

    def problem(self, flag: str, text: str) -> None:
        self.problems.append(f"--{flag}: {text}")

    def text(self, flag: str) -> str:
        return cast(str, self.values[flag])

    def number(self, flag: str, lowest: int, highest: int = 1 << 62) -> int:
        value = cast(int, self.values[flag])
        if not lowest <= value <= highest:
            self.problem(flag, f"must be in [{lowest}, {highest}], not {value}")
        return value

    def rate_limits(self) -> RateLimitConfig:
        try:
            return RateLimitConfig(
                parse_rate_limit(self.text("rate-limit-per-user")),
                parse_prefix_limits(self.text("rate-limit-per-prefix")),
            )
        except ValueError as error:
            self.problem("rate-limit-per-user/prefix", str(error))
            return RateLimitConfig()

    def seconds(self, flag: str) -> float:
        return cast(float, self.values[flag])

    def quota_bytes(self) -> int:
        """The quota as etcd reads it: 0 is its default of 2 GiB, below 0 is none (here 0)."""
        given = self.number("quota-backend-bytes", -(1 << 62))
        return max(0, given or QUOTA_BYTES)

    def choice(self, flag: str, *allowed: str) -> str:
        value = self.text(flag)
        if value not in allowed:
            self.problem(flag, f"must be one of {', '.join(allowed)}, not {value!r}")
        return value

    def endpoints(self, flag: str) -> tuple[Endpoint, ...]:
        """Read comma-separated URLs: http or https with a host and a port, or a Unix socket."""
        found = []
        for url in filter(None, self.text(flag).split(",")):
            try:
                parts = urlsplit(url)
                port = parts.port if parts.scheme not in UNIX_SCHEMES else 0
            except ValueError:
                self.problem(flag, f"{url!r} is not a URL")
                continue
            if parts.scheme in UNIX_SCHEMES:
                path = url.split("://", 1)[1]
                if "peer" in flag:
                    self.problem(flag, f"{url!r}: members do not meet on Unix sockets")
                elif not path:
                    self.problem(flag, f"{url!r}: want unix://path")
                else:
                    found.append(Endpoint(url, path, 0))
            elif parts.scheme not in ("http", "https") or not parts.hostname or port is None:
                self.problem(flag, f"{url!r}: want http://host:port or https://host:port")
            elif parts.path not in ("", "/"):
                self.problem(flag, f"{url!r}: must have no path")
            else:
                found.append(Endpoint(url.rstrip("/"), parts.hostname, port))
        return tuple(found)

    def cluster(self, name: str) -> ClusterConfig:
        advertised = tuple(sorted(e.url for e in self.endpoints("initial-advertise-peer-urls")))
        members: dict[str, list[str]] = {}
        for pair in filter(None, self.text("initial-cluster").split(",")):
            member, equals, url = pair.partition("=")
            parts = urlsplit(url)
            if not equals or not member or not parts.hostname or parts.port is None:
                self.problem("initial-cluster", f"{pair!r}: want name=http://host:port")
                continue
            members.setdefault(member, []).append(url.rstrip("/"))
        if not members:
            members = {name: list(advertised)}
        urls = [url for of_member in members.values() for url in of_member]
        if len(set(urls)) != len(urls):
            self.problem("initial-cluster", "the same URL is given twice")
        if name not in members:
            self.problem("initial-cluster", f"does not contain this member's name {name!r}")
        elif tuple(sorted(members[name])) != advertised:
            self.problem(
                "initial-cluster",
                f"{name!r} has {','.join(sorted(members[name]))}, but"
                f" --initial-advertise-peer-urls says {','.join(advertised)}",
            )
        state = self.choice("initial-cluster-state", "new", "existing")
        return ClusterConfig(
            {member: tuple(sorted(of_member)) for member, of_member in members.items()},
            self.text("initial-cluster-token"),
            state == "existing",
        )

    def timing(self) -> tuple[int, int]:
        """The heartbeat interval in milliseconds, and the election timeout in heartbeats."""
        heartbeat_ms = self.number("heartbeat-interval", 1, 10_000)
        election_ms = self.number("election-timeout", 1, 50_000)
        if election_ms < 5 * heartbeat_ms:
            self.problem(
                "election-timeout",
                f"must be at least five times --heartbeat-interval ({heartbeat_ms} ms),"
                f" not {election_ms} ms",
            )
        return heartbeat_ms, max(1, election_ms // max(1, heartbeat_ms))

    def corrupt_check_s(self) -> float:
        """The shorter of the two intervals at which etcd compares members; 0 where both are off."""
        always = cast(float, self.values["corrupt-check-time"])
        compacted = cast(float, self.values["compact-hash-check-time"])
        if not self.gate("compact-hash-check-enabled", "CompactHashCheck"):
            compacted = 0.0
        return min((one for one in (always, compacted) if one > 0), default=0.0)

    def gate(self, flag: str, gate: str) -> bool:
        """Whether a flag, or the feature gate that became it, asks for something."""
        return cast(bool, self.values[flag]) or self.gates.get(gate, False)

    def feature_gates(self) -> dict[str, bool]:
        try:
            return parse_feature_gates(self.text("feature-gates"))
        except ValueError as error:
            self.problem("feature-gates", str(error))
            return {}

    def log(self) -> LogConfig:
        outputs = [one.strip() for one in self.text("log-outputs").split(",")]
        chosen = ["stderr" if one in ("default", "", "systemd/journal") else one for one in outputs]
        rotation = None
        if cast(bool, self.values["enable-log-rotation"]):
            if sum(one not in ("stderr", "stdout") for one in chosen) != 1:
                self.problem("enable-log-rotation", "wants exactly one file in --log-outputs")
            try:
                rotation = parse_rotation(self.text("log-rotation-config-json"))
            except ValueError as error:
                self.problem("log-rotation-config-json", str(error))
        return LogConfig(
            self.choice("log-level", *LEVELS),
            self.choice("log-format", "json", "console"),
            tuple(dict.fromkeys(chosen)),
            rotation,
        )

    def compaction(self) -> CompactionMode:
        mode = self.choice("auto-compaction-mode", "periodic", "revision")
        text = self.text("auto-compaction-retention")
        try:
            if mode == "revision":
                return CompactionMode(revisions=int(text))
            hours_only = re.fullmatch(r"\d+", text) is not None
            return CompactionMode(
                period_s=int(text) * 3600.0 if hours_only else parse_duration_s(text)
            )
        except ValueError:
            self.problem("auto-compaction-retention", f"{text!r} does not suit mode {mode}")
            return CompactionMode()
