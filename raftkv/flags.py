"""Read etcd's flags from an argument list and the environment, and refuse what is not understood.

A flag is one row of `FLAGS`. A value given on the command line wins over `RAFTKV_<NAME>`, which
wins over `ETCD_<NAME>`. Every problem found is reported, not only the first.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "FLAGS",
    "Flag",
    "FlagError",
    "Standing",
    "Value",
    "config_file_of",
    "defaults",
    "find_flag",
    "parse_duration_s",
    "read_flags",
    "strangers",
    "take_value",
]

Value = str | int | float | bool


class Standing(Enum):
    """What a flag does here."""

    USED = "used"
    ACCEPTED = "accepted"
    """Taken and without effect: it tunes a mechanism that does not exist here."""
    REFUSED = "refused"
    """Known to etcd and not here; ignoring it would be unsafe or surprising."""


class FlagError(Exception):
    """The flags and environment cannot be used. `problems` holds one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration_s(text: str) -> float:
    """Read a Go duration such as `1h30m` or `100ms`; `0` needs no unit. Raises ValueError."""
    if text in ("0", "+0", "-0"):
        return 0.0
    position, total = 0, 0.0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            break
        total += float(match[1]) * _UNIT_S[match[2]]
        position = match.end()
    if position != len(text) or not text:
        raise ValueError("want a duration such as 100ms, 5s or 1h30m")
    return total


def _parse_bool(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise ValueError("want true or false")


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("want a whole number") from None


_PARSERS: dict[type, Callable[[str], Value]] = {
    str: str,
    int: _parse_int,
    bool: _parse_bool,
    float: parse_duration_s,
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its name without dashes, the type of its value (float is a duration in seconds)."""

    name: str
    type: type
    default: Value
    standing: Standing
    help: str = ""
    """What it does; of an accepted flag why it does nothing, of a refused one why it is refused."""

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that give it, the strongest first."""
        upper = self.name.upper().replace("-", "_")
        return f"RAFTKV_{upper}", f"ETCD_{upper}", f"ETCD_EXPERIMENTAL_{upper}"


def _used(name: str, default: Value, help_text: str, kind: type | None = None) -> Flag:
    return Flag(name, kind or type(default), default, Standing.USED, help_text)


_EMPTY: dict[type, Value] = {str: "", int: 0, bool: False, float: 0.0}


def _group(standing: Standing, why: str, names: dict[str, type]) -> tuple[Flag, ...]:
    return tuple(
        Flag(name.replace("_", "-"), kind, _EMPTY[kind], standing, why)
        for name, kind in names.items()
    )


_MEMBER = (
    _used("name", "default", "human-readable name of this member"),
    _used("data-dir", "", "data directory (default: ${name}.raftkv)"),
    _used("listen-client-urls", "http://localhost:2379", "URLs to serve clients on"),
    _used("advertise-client-urls", "", "client URLs told to others (default: as listened on)"),
    _used("listen-peer-urls", "http://localhost:2380", "URLs to listen on for other members"),
    _used("listen-metrics-urls", "", "further URLs that serve /metrics and health only"),
    _used("heartbeat-interval", 100, "milliseconds between the leader's heartbeats"),
    _used("election-timeout", 1000, "milliseconds without a leader before an election"),
    _used("snapshot-count", 10000, "applied entries, twice as many as may wait for a flush"),
    _used("snapshot-catchup-entries", 5000, "entries kept in the log for slow followers"),
    _used("snapshot-send-rate", 16 << 20, "bytes per second of a snapshot to one follower"),
    _used("quota-backend-bytes", 0, "bytes in use to refuse writes at; 0: 2 GiB, -1: none"),
    _used("max-txn-ops", 128, "operations allowed in one transaction"),
    _used("max-request-bytes", 1536 * 1024, "largest request accepted, in bytes"),
    _used("max-concurrent-streams", 4294967295, "streams a client may open on one connection"),
    _used("watch-progress-notify-interval", 600.0, "time between progress notifications"),
)
_CLUSTER = (
    _used("initial-advertise-peer-urls", "http://localhost:2380", "this member's peer URL"),
    _used("initial-cluster", "", "name=url[,name=url...] of all members"),
    _used("initial-cluster-state", "new", "new or existing"),
    _used("initial-cluster-token", "etcd-cluster", "distinguishes clusters of the same URLs"),
    _used("auto-compaction-mode", "periodic", "periodic or revision"),
    _used("auto-compaction-retention", "0", "hours, a duration, or revisions to keep; 0 is off"),
    _used("strict-reconfig-check", True, "refuse membership changes that could lose the quorum"),
    _used("max-learners", 1, "learners that the cluster may have"),
    _used("corrupt-check-time", 0.0, "time between comparisons of the members' hashes; 0 is off"),
    _used("compact-hash-check-enabled", False, "compare members' hashes"),
    _used("compact-hash-check-time", 60.0, "time between comparisons, where enabled"),
    _used("pre-vote", True, "ask before an election whether it could be won"),
    _used("force-new-cluster", False, "go on alone, from this member's data; the others are gone"),
    _used("initial-corrupt-check", False, "compare with the other members before serving"),
    _used("feature-gates", "", "Name=true|false,..., of the gates listed below"),
    _used("config-file", "", "YAML file of flags; others and the environment are then ignored"),
)
_LOGGING = (
    _used("log-level", "info", "debug, info, warn, error, panic, fatal"),
    _used("log-format", "json", "json or console"),
    _used("log-outputs", "default", "stderr, stdout and files, by commas; default: stderr"),
    _used(
        "enable-log-rotation",
        False,
        "begin a new file where --log-outputs names one and it is full",
    ),
    _used("log-rotation-config-json", "", "maxsize (MB, 100), maxbackups, maxage (days), compress"),
    _used("warning-apply-duration", 0.1, "warn when applying a batch of requests takes longer"),
)
_AUTH = (
    _used("auth-token", "simple", "simple, or jwt,sign-method=...,pub-key=...,priv-key=...,ttl=5m"),
    _used("auth-token-ttl", 300, "seconds that a simple token lives after its last use"),
    _used("bcrypt-cost", 10, "passwords are hashed with 2 to this power of rounds"),
)
_HTTP = (
    _used("listen-client-http-urls", "", "serve HTTP here, and on the client URLs only gRPC"),
    _used("enable-grpc-gateway", True, "serve the JSON gateway"),
    _used("cors", "*", "origins of web pages that may read answers"),
    _used("host-whitelist", "*", "host names that unencrypted HTTP requests may be for"),
    _used("enable-pprof", False, "serve /debug/pprof/"),
    _used("metrics", "basic", "basic, or extensive: with durations per method"),
)
_TLS = (
    _used("cert-file", "", "certificate that clients are shown, PEM; read again when it changes"),
    _used("key-file", "", "its key"),
    _used("trusted-ca-file", "", "signers of clients' certificates, which are a must then"),
    _used("client-cert-auth", False, "clients must have a certificate; its CN is their user"),
    _used("client-cert-file", "", "certificate of this member as a client of others"),
    _used("client-key-file", "", "its key"),
    _used("client-crl-file", "", "clients' certificates that are refused"),
    _used("client-cert-allowed-hostname", "", "names one of which a client's certificate is for"),
    _used("auto-tls", False, "make a self-signed certificate for clients where none is given"),
    _used("peer-cert-file", "", "certificate that other members are shown"),
    _used("peer-key-file", "", "its key"),
    _used("peer-trusted-ca-file", "", "signers of members' certificates, which are a must then"),
    _used("peer-client-cert-auth", False, "members must have a certificate"),
    _used("peer-client-cert-file", "", "certificate for dialling members, if it is another"),
    _used("peer-client-key-file", "", "its key"),
    _used("peer-crl-file", "", "members' certificates that are refused"),
    _used("peer-cert-allowed-cn", "", "common names one of which a member must have"),
    _used("peer-cert-allowed-hostname", "", "names one of which a member's certificate is for"),
    _used("peer-skip-client-san-verification", False, "members may come from any address"),
    _used("peer-auto-tls", False, "make a self-signed certificate for members"),
    _used("self-signed-cert-validity", 1, "years that a self-made certificate is good for"),
    _used("cipher-suites", "", "suites allowed below TLS 1.3, by their IANA names"),
    _used("tls-min-version", "TLS1.2", "TLS1.2 or TLS1.3"),
    _used("tls-max-version", "", "TLS1.2 or TLS1.3; empty: the newest"),
)
_CONNECTIONS = (
    _used("grpc-keepalive-min-time", 5.0, "clients that ping more often are sent away"),
    _used("grpc-keepalive-interval", 7200.0, "ping a client that is silent for this long; 0: off"),
    _used("grpc-keepalive-timeout", 20.0, "close its connection where no answer comes by then"),
    _used("rate-limit-per-user", "", "requests/s[:burst] that a user may make on one member"),
    _used("rate-limit-per-prefix", "", "prefix=requests/s[:burst],... for all users together"),
)


def _accepted(why: str, **names: type) -> tuple[Flag, ...]:
    """Flags that are taken and change nothing, for the one reason `why`."""
    return _group(Standing.ACCEPTED, why, names)


def _refused(why: str, **names: type) -> tuple[Flag, ...]:
    """Flags that are refused, for the one reason `why`, unless they ask for nothing."""
    return _group(Standing.REFUSED, why, names)


_ACCEPTED = (
    *_accepted("the log lives in the data directory; put that on the fast disk", wal_dir=str),
    *_accepted(
        "the log recycles its segments, and a snapshot is the state itself: no files pile up",
        max_snapshots=int,
        max_wals=int,
    ),
    *_accepted(
        "the state is written in batches that its size and age decide, without bbolt",
        backend_batch_interval=float,
        backend_batch_limit=int,
        backend_bbolt_freelist_type=str,
        bootstrap_defrag_threshold_megabytes=int,
        txn_mode_write_with_shared_buffer=bool,
        memory_mlock=bool,
    ),
    *_accepted(
        "compaction runs in small steps between requests, sized by what they cost",
        compaction_batch_limit=int,
        compaction_sleep_interval=float,
    ),
    *_accepted(
        "leases' remaining time is always replicated",
        enable_lease_checkpoint=bool,
        enable_lease_checkpoint_persist=bool,
    ),
    *_accepted(
        "elections begin by chance within one to two timeouts, the first one too",
        initial_election_tick_advance=bool,
    ),
    *_accepted("defragmentation never stops a member", stop_grpc_service_on_defrag=bool),
    *_accepted(
        "versions are compared when a member asks, not by the clock", downgrade_check_time=float
    ),
    *_accepted("sockets are the kernel's defaults", set_member_localaddr=bool),
    *_accepted(
        "there is one logger; --log-level and --log-format shape it",
        logger=str,
        log_package_levels=str,
        debug=bool,
    ),
    *_accepted(
        "syncing stays on: what is acknowledged is on disk, which the flag would give up",
        unsafe_no_fsync=bool,
    ),
    *_accepted(
        "the address is always reused, the port never",
        socket_reuse_port=bool,
        socket_reuse_address=bool,
    ),
    *_accepted("there is no API v2 to phase out", v2_deprecation=str),
    *_accepted(
        "requests are not traced",
        distributed_tracing_address=str,
        distributed_tracing_service_name=str,
        distributed_tracing_instance_id=str,
        distributed_tracing_sampling_rate=int,
    ),
    *_accepted(
        "no proxy is started, nor members discovered",
        discovery_fallback=str,
        proxy_failure_wait=int,
        proxy_refresh_interval=int,
        proxy_dial_timeout=int,
        proxy_write_timeout=int,
        proxy_read_timeout=int,
    ),
    *_accepted(
        "requests are not timed one by one; --warning-apply-duration covers what is slow",
        warning_unary_request_duration=float,
    ),
)

_REFUSED = (
    *_refused(
        "members are not discovered here; name them all with --initial-cluster",
        discovery=str,
        discovery_token=str,
        discovery_endpoints=str,
        discovery_srv=str,
        discovery_srv_name=str,
        discovery_proxy=str,
        discovery_dial_timeout=float,
        discovery_request_timeout=float,
        discovery_keepalive_time=float,
        discovery_keepalive_timeout=float,
        discovery_insecure_transport=bool,
        discovery_insecure_skip_tls_verify=bool,
        discovery_cert=str,
        discovery_key=str,
        discovery_cacert=str,
        discovery_user=str,
        discovery_password=str,
    ),
    *_refused("requests are not traced; use /metrics", enable_distributed_tracing=bool),
    *_refused(
        "API v2 is not served; clients need API v3", enable_v2=bool, enable_v2v3=str, proxy=str
    ),
)

FLAGS: dict[str, Flag] = {
    flag.name: flag
    for flag in (
        *_MEMBER,
        *_CLUSTER,
        *_LOGGING,
        *_AUTH,
        *_TLS,
        *_CONNECTIONS,
        *_HTTP,
        *_ACCEPTED,
        *_REFUSED,
    )
}
"""Every flag by name. `--experimental-<name>` is another spelling of `--<name>`."""

_HARMLESS = {("proxy", "off")}
"""Values of refused flags that ask for nothing but the default."""


CONFIG_FILE = "config-file"

NOT_FLAGS = frozenset({"RAFTKV_PURE", "ETCD_UNSUPPORTED_ARCH"})
"""Variables that mean something else."""


def find_flag(name: str) -> Flag | None:
    """Return the flag of that name, in either spelling; None where there is none."""
    return FLAGS.get(name) or FLAGS.get(name.removeprefix("experimental-"))


def defaults() -> dict[str, Value]:
    """Return the default of every used flag."""
    return {flag.name: flag.default for flag in FLAGS.values() if flag.standing is Standing.USED}


def read_flags(arguments: Sequence[str], environment: Mapping[str, str]) -> dict[str, Value]:
    """Return a value for every used flag, by name. Raises FlagError with every problem at once."""
    problems: list[str] = []
    values = defaults()
    for flag in FLAGS.values():
        variable = next((one for one in flag.variables if one in environment), None)
        if variable is not None:
            take_value(flag, environment[variable], variable, values, problems)
    _read_arguments(arguments, values, problems)
    if problems:
        raise FlagError(problems)
    return values


def config_file_of(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the path that --config-file or its variable gives, "" where none does."""
    given = ""
    for at, argument in enumerate(arguments):
        name, equals, text = argument.lstrip("-").partition("=")
        if name == CONFIG_FILE and argument.startswith("-"):
            given = text if equals else "".join(arguments[at + 1 : at + 2])
    from_environment = (environment.get(one, "") for one in FLAGS[CONFIG_FILE].variables)
    return given or next(filter(None, from_environment), "")


def strangers(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that look like ours or etcd's and name no flag, sorted."""
    known = {name for flag in FLAGS.values() for name in flag.variables}
    return sorted(
        name
        for name in environment
        if name.startswith(("ETCD_", "RAFTKV_")) and name not in known and name not in NOT_FLAGS
    )


def _read_arguments(
    arguments: Sequence[str], values: dict[str, Value], problems: list[str]
) -> None:
    rest = list(reversed(arguments))
    while rest:
        argument = rest.pop()
        name, has_value, text = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not name:
            problems.append(f"{argument!r} is not a flag")
            continue
        flag = find_flag(name)
        if flag is None:
            problems.append(f"--{name}: unknown flag")
            continue
        if not has_value:
            if flag.type is bool:
                text = "true"
            elif rest:
                text = rest.pop()
            else:
                problems.append(f"--{name}: needs a value")
                continue
        take_value(flag, text, f"--{name}", values, problems)


def take_value(
    flag: Flag, text: str, source: str, values: dict[str, Value], problems: list[str]
) -> None:
    """Parse one value given by `source` into `values`, or add a problem."""
    try:
        value = _PARSERS[flag.type](text)
    except ValueError as error:
        problems.append(f"{source}: {error}, not {text!r}")
        return
    if flag.standing is Standing.USED:
        values[flag.name] = value
    elif (
        flag.standing is Standing.REFUSED
        and value not in ("", False)
        and (flag.name, text) not in _HARMLESS
    ):
        problems.append(f"{source}: {flag.help}")
