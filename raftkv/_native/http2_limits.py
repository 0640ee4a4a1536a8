"""The bounds of the HTTP/2 front end, each with its unit and what happens beyond it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Every queue and buffer that a client can fill has its bound here."""

    request_bytes_max: int = (3 << 19) + (512 << 10)
    """One gRPC message or HTTP body; more is RESOURCE_EXHAUSTED. etcd: request limit + 512 KiB."""
    connections_max: int = 16_384
    """Open HTTP/2 and undecided connections; one more is closed at once."""
    concurrent_streams_max: int = 32_768
    """Open streams per connection, announced in SETTINGS; one more is refused with REFUSED_STREAM,
    or ends the connection of a client that has acknowledged the limit."""
    header_list_bytes_max: int = 64 << 10
    """Header list of one request (RFC 9113 §6.5.2 sizes); more is RESOURCE_EXHAUSTED."""
    partial_bytes_max: int = 64 << 20
    """Per connection, headers of open requests, and bodies and messages that wait for their own end
    or, of unary calls, for the request's; more is RESOURCE_EXHAUSTED."""
    queued_bytes_max: int = 256 << 20
    """Per connection, answers the client does not take; an answer beyond is RESOURCE_EXHAUSTED."""
    queued_total_bytes_max: int = 1 << 30
    """The same for all connections together; one with less than 64 KiB outstanding goes on."""
    partial_total_bytes_max: int = 512 << 20
    """Like `partial_bytes_max`, for all connections together, but for those below 64 KiB."""
    streams_max: int = 262_144
    """Open streams of all connections; one more is refused with REFUSED_STREAM, but for those
    connections that have fewer than 128."""
    drain_low_water_bytes: int = 64 << 10
    """`Stream.on_drained` is called when a stream's queue falls below this."""
    write_buffer_bytes: int = 256 << 10
    """Bytes that the transport may hold before nothing more is taken from the streams."""
    stream_window_bytes: int = 4 << 20
    """Flow-control window of one stream, for requests."""
    connection_window_bytes: int = 32 << 20
    """Flow-control window of one connection, for requests."""
    frames_owed_max: int = 10_000
    """Refusals of streams and the like that a client lets pile up, reading nothing, while it asks
    on; beyond, the connection is cut. What open streams owe is bounded by their number."""
    resets_burst: int = 10_000
    """Streams that a client may reset at once before the connection is closed."""
    resets_per_s: int = 1_000
    """Streams that a client may reset per second in the long run."""
    ping_interval_min_s: float = 5.0
    """Pings closer than this, with nothing sent between them, count as strikes."""
    ping_strikes_max: int = 2
    """Strikes beyond this: GOAWAY ENHANCE_YOUR_CALM `too_many_pings`."""
    ping_client_after_s: float = 7200.0
    """A client that has sent nothing for this long is pinged; 0: never."""
    ping_answer_s: float = 20.0
    """A client that sends nothing for this long after that is dropped."""
    idle_when_full_s: float = 60.0
    """While nine tenths of `connections_max` are open, who has no stream and has sent nothing for
    this long is sent away with GOAWAY; clients dial again when they need to."""
    preface_timeout_s: float = 10.0
    """A connection that has not said which HTTP it speaks by then is closed."""
    close_grace_s: float = 1.0
    """After `Server.close`, a client that has not taken its last bytes by then is cut off."""
