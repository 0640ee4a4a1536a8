"""Every error that a client of the etcd v3 API can be told, in one table.

Clients compare the *text*, byte for byte (etcd `api/v3rpc/rpctypes/error.go`), so a text here is
part of the interface. Native code answers with the small integers of `ErrorCode`; `ERRORS` turns
one into the status that goes on the wire.
"""

from __future__ import annotations

from enum import IntEnum


class GrpcStatus(IntEnum):
    """The status codes of gRPC that the table uses."""

    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ErrorCode(IntEnum):
    """One row of the table. Zero is never an error; the numbers stay inside this process."""

    EMPTY_KEY = 1
    KEY_NOT_FOUND = 2
    VALUE_PROVIDED = 3
    LEASE_PROVIDED = 4
    TOO_MANY_OPS = 5
    DUPLICATE_KEY = 6
    INVALID_CLIENT_API_VERSION = 7
    INVALID_SORT_OPTION = 8
    COMPACTED = 9
    FUTURE_REV = 10
    NO_SPACE = 11
    LEASE_NOT_FOUND = 12
    LEASE_EXIST = 13
    LEASE_TTL_TOO_LARGE = 14
    WATCH_CANCELED = 15
    MEMBER_EXIST = 16
    PEER_URL_EXIST = 17
    MEMBER_NOT_ENOUGH_STARTED = 18
    MEMBER_BAD_URLS = 19
    MEMBER_NOT_FOUND = 20
    MEMBER_NOT_LEARNER = 21
    LEARNER_NOT_READY = 22
    TOO_MANY_LEARNERS = 23
    CLUSTER_ID_MISMATCH = 24
    REQUEST_TOO_LARGE = 25
    REQUEST_TOO_MANY_REQUESTS = 26
    ROOT_USER_NOT_EXIST = 27
    ROOT_ROLE_NOT_EXIST = 28
    USER_ALREADY_EXIST = 29
    USER_EMPTY = 30
    USER_NOT_FOUND = 31
    ROLE_ALREADY_EXIST = 32
    ROLE_NOT_FOUND = 33
    ROLE_EMPTY = 34
    AUTH_FAILED = 35
    PERMISSION_NOT_GIVEN = 36
    PERMISSION_DENIED = 37
    ROLE_NOT_GRANTED = 38
    PERMISSION_NOT_GRANTED = 39
    AUTH_NOT_ENABLED = 40
    INVALID_AUTH_TOKEN = 41
    INVALID_AUTH_MGMT = 42
    AUTH_OLD_REVISION = 43
    NO_LEADER = 44
    NOT_LEADER = 45
    LEADER_CHANGED = 46
    NOT_CAPABLE = 47
    STOPPED = 48
    TIMEOUT = 49
    TIMEOUT_DUE_TO_LEADER_FAIL = 50
    TIMEOUT_DUE_TO_CONNECTION_LOST = 51
    TIMEOUT_WAIT_APPLIED_INDEX = 52
    UNHEALTHY = 53
    CORRUPT = 54
    NOT_SUPPORTED_FOR_LEARNER = 55
    BAD_LEADER_TRANSFEREE = 56
    WRONG_DOWNGRADE_VERSION_FORMAT = 57
    INVALID_DOWNGRADE_TARGET_VERSION = 58
    CLUSTER_VERSION_UNAVAILABLE = 59
    DOWNGRADE_IN_PROCESS = 60
    NO_INFLIGHT_DOWNGRADE = 61
    CANCELED = 62
    DEADLINE_EXCEEDED = 63
    INVALID_REQUEST = 64


_S = GrpcStatus
_C = ErrorCode

ERRORS: dict[ErrorCode, tuple[int, str]] = {
    _C.EMPTY_KEY: (_S.INVALID_ARGUMENT, "etcdserver: key is not provided"),
    _C.KEY_NOT_FOUND: (_S.INVALID_ARGUMENT, "etcdserver: key not found"),
    _C.VALUE_PROVIDED: (_S.INVALID_ARGUMENT, "etcdserver: value is provided"),
    _C.LEASE_PROVIDED: (_S.INVALID_ARGUMENT, "etcdserver: lease is provided"),
    _C.TOO_MANY_OPS: (_S.INVALID_ARGUMENT, "etcdserver: too many operations in txn request"),
    _C.DUPLICATE_KEY: (_S.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request"),
    _C.INVALID_CLIENT_API_VERSION: (_S.INVALID_ARGUMENT, "etcdserver: invalid client api version"),
    _C.INVALID_SORT_OPTION: (_S.INVALID_ARGUMENT, "etcdserver: invalid sort option"),
    _C.COMPACTED: (_S.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted"),
    _C.FUTURE_REV: (_S.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"),
    _C.NO_SPACE: (_S.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"),
    _C.LEASE_NOT_FOUND: (_S.NOT_FOUND, "etcdserver: requested lease not found"),
    _C.LEASE_EXIST: (_S.FAILED_PRECONDITION, "etcdserver: lease already exists"),
    _C.LEASE_TTL_TOO_LARGE: (_S.OUT_OF_RANGE, "etcdserver: too large lease TTL"),
    _C.WATCH_CANCELED: (_S.CANCELED, "etcdserver: watch canceled"),
    _C.MEMBER_EXIST: (_S.FAILED_PRECONDITION, "etcdserver: member ID already exist"),
    _C.PEER_URL_EXIST: (_S.FAILED_PRECONDITION, "etcdserver: Peer URLs already exists"),
    _C.MEMBER_NOT_ENOUGH_STARTED: (
        _S.UNKNOWN,
        "etcdserver: re-configuration failed due to not enough started members",
    ),
    _C.MEMBER_BAD_URLS: (_S.INVALID_ARGUMENT, "etcdserver: given member URLs are invalid"),
    _C.MEMBER_NOT_FOUND: (_S.NOT_FOUND, "etcdserver: member not found"),
    _C.MEMBER_NOT_LEARNER: (
        _S.FAILED_PRECONDITION,
        "etcdserver: can only promote a learner member",
    ),
    _C.LEARNER_NOT_READY: (
        _S.FAILED_PRECONDITION,
        "etcdserver: can only promote a learner member which is in sync with leader",
    ),
    _C.TOO_MANY_LEARNERS: (
        _S.FAILED_PRECONDITION,
        "etcdserver: too many learner members in cluster",
    ),
    _C.CLUSTER_ID_MISMATCH: (_S.FAILED_PRECONDITION, "etcdserver: cluster ID mismatch"),
    _C.REQUEST_TOO_LARGE: (_S.INVALID_ARGUMENT, "etcdserver: request is too large"),
    _C.REQUEST_TOO_MANY_REQUESTS: (_S.UNKNOWN, "etcdserver: too many requests"),
    _C.ROOT_USER_NOT_EXIST: (_S.FAILED_PRECONDITION, "etcdserver: root user does not exist"),
    _C.ROOT_ROLE_NOT_EXIST: (
        _S.FAILED_PRECONDITION,
        "etcdserver: root user does not have root role",
    ),
    _C.USER_ALREADY_EXIST: (_S.FAILED_PRECONDITION, "etcdserver: user name already exists"),
    _C.USER_EMPTY: (_S.INVALID_ARGUMENT, "etcdserver: user name is empty"),
    _C.USER_NOT_FOUND: (_S.FAILED_PRECONDITION, "etcdserver: user name not found"),
    _C.ROLE_ALREADY_EXIST: (_S.FAILED_PRECONDITION, "etcdserver: role name already exists"),
    _C.ROLE_NOT_FOUND: (_S.FAILED_PRECONDITION, "etcdserver: role name not found"),
    _C.ROLE_EMPTY: (_S.INVALID_ARGUMENT, "etcdserver: role name is empty"),
    _C.AUTH_FAILED: (
        _S.INVALID_ARGUMENT,
        "etcdserver: authentication failed, invalid user ID or password",
    ),
    _C.PERMISSION_NOT_GIVEN: (_S.INVALID_ARGUMENT, "etcdserver: permission not given"),
    _C.PERMISSION_DENIED: (_S.PERMISSION_DENIED, "etcdserver: permission denied"),
    _C.ROLE_NOT_GRANTED: (_S.FAILED_PRECONDITION, "etcdserver: role is not granted to the user"),
    _C.PERMISSION_NOT_GRANTED: (
        _S.FAILED_PRECONDITION,
        "etcdserver: permission is not granted to the role",
    ),
    _C.AUTH_NOT_ENABLED: (_S.FAILED_PRECONDITION, "etcdserver: authentication is not enabled"),
    _C.INVALID_AUTH_TOKEN: (_S.UNAUTHENTICATED, "etcdserver: invalid auth token"),
    _C.INVALID_AUTH_MGMT: (_S.INVALID_ARGUMENT, "etcdserver: invalid auth management"),
    _C.AUTH_OLD_REVISION: (_S.INVALID_ARGUMENT, "etcdserver: revision of auth store is old"),
    _C.NO_LEADER: (_S.UNAVAILABLE, "etcdserver: no leader"),
    _C.NOT_LEADER: (_S.FAILED_PRECONDITION, "etcdserver: not leader"),
    _C.LEADER_CHANGED: (_S.UNAVAILABLE, "etcdserver: leader changed"),
    _C.NOT_CAPABLE: (_S.FAILED_PRECONDITION, "etcdserver: not capable"),
    _C.STOPPED: (_S.UNAVAILABLE, "etcdserver: server stopped"),
    _C.TIMEOUT: (_S.UNAVAILABLE, "etcdserver: request timed out"),
    _C.TIMEOUT_DUE_TO_LEADER_FAIL: (
        _S.UNAVAILABLE,
        "etcdserver: request timed out, possibly due to previous leader failure",
    ),
    _C.TIMEOUT_DUE_TO_CONNECTION_LOST: (
        _S.UNAVAILABLE,
        "etcdserver: request timed out, possibly due to connection lost",
    ),
    _C.TIMEOUT_WAIT_APPLIED_INDEX: (
        _S.UNAVAILABLE,
        "etcdserver: request timed out, waiting for the applied index took too long",
    ),
    _C.UNHEALTHY: (_S.UNAVAILABLE, "etcdserver: unhealthy cluster"),
    _C.CORRUPT: (_S.DATA_LOSS, "etcdserver: corrupt cluster"),
    _C.NOT_SUPPORTED_FOR_LEARNER: (
        _S.FAILED_PRECONDITION,
        "etcdserver: rpc not supported for learner",
    ),
    _C.BAD_LEADER_TRANSFEREE: (_S.FAILED_PRECONDITION, "etcdserver: bad leader transferee"),
    _C.WRONG_DOWNGRADE_VERSION_FORMAT: (
        _S.INVALID_ARGUMENT,
        "etcdserver: wrong downgrade target version format",
    ),
    _C.INVALID_DOWNGRADE_TARGET_VERSION: (
        _S.INVALID_ARGUMENT,
        "etcdserver: invalid downgrade target version",
    ),
    _C.CLUSTER_VERSION_UNAVAILABLE: (
        _S.FAILED_PRECONDITION,
        "etcdserver: cluster version not found during downgrade",
    ),
    _C.DOWNGRADE_IN_PROCESS: (
        _S.FAILED_PRECONDITION,
        "etcdserver: cluster has a downgrade job in progress",
    ),
    _C.NO_INFLIGHT_DOWNGRADE: (_S.FAILED_PRECONDITION, "etcdserver: no inflight downgrade job"),
    _C.CANCELED: (_S.CANCELED, "etcdserver: request canceled"),
    _C.DEADLINE_EXCEEDED: (_S.DEADLINE_EXCEEDED, "etcdserver: context deadline exceeded"),
    _C.INVALID_REQUEST: (
        _S.INTERNAL,
        "grpc: error unmarshalling request: the message is no protobuf",
    ),
}
"""Error -> status code and text. REQUEST_TOO_MANY_REQUESTS and MEMBER_NOT_ENOUGH_STARTED reach the
wire as UNKNOWN, as etcd sends them. INVALID_REQUEST is what grpc-go says of a message
that is not protobuf; its reasons differ."""


class StoreError(Exception):
    """A request that the store refused, by its row in `ERRORS`."""

    def __init__(self, code: int) -> None:
        self.code = ErrorCode(code)
        self.status, self.text = ERRORS[self.code]
        super().__init__(self.text)


class StoreIOError(OSError):
    """LMDB or the system failed under the store: the member must stop, not serve on."""


class StoreCorruptError(StoreIOError):
    """The state directory is not ours, or not whole. The text says what to do."""
