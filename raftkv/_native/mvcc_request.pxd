# The KV requests of etcd v3 as C structs, parsed from their bytes, and checks that need no state.
#
# Spans point into the caller's bytes and live as long as those. Functions that return an int give
# 0 or an error code below: the numbers of raftkv.errors.ErrorCode, compared at import.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from raftkv._native.wire cimport Field, Span

cdef enum:
    ERROR_EMPTY_KEY = 1
    ERROR_KEY_NOT_FOUND = 2
    ERROR_VALUE_PROVIDED = 3
    ERROR_LEASE_PROVIDED = 4
    ERROR_TOO_MANY_OPS = 5
    ERROR_DUPLICATE_KEY = 6
    ERROR_INVALID_SORT_OPTION = 8
    ERROR_COMPACTED = 9
    ERROR_FUTURE_REV = 10
    ERROR_LEASE_NOT_FOUND = 12
    ERROR_LEASE_EXIST = 13
    ERROR_LEASE_TTL_TOO_LARGE = 14
    ERROR_INVALID_REQUEST = 64

    TXN_DEPTH_MAX = 128       # nested transactions; deeper ones are ERROR_TOO_MANY_OPS

    # Tags: field number << 3 | wire type.
    TAG_TXN_COMPARE = 10
    TAG_TXN_SUCCESS = 18
    TAG_TXN_FAILURE = 26
    TAG_OP_RANGE = 10
    TAG_OP_PUT = 18
    TAG_OP_DELETE_RANGE = 26
    TAG_OP_TXN = 34

    SORT_NONE = 0
    SORT_ASCEND = 1
    SORT_DESCEND = 2
    TARGET_KEY = 0
    TARGET_VERSION = 1
    TARGET_CREATE = 2
    TARGET_MOD = 3
    TARGET_VALUE = 4
    COMPARE_VERSION = 0
    COMPARE_CREATE = 1
    COMPARE_MOD = 2
    COMPARE_VALUE = 3
    COMPARE_LEASE = 4
    RESULT_EQUAL = 0
    RESULT_GREATER = 1
    RESULT_LESS = 2
    RESULT_NOT_EQUAL = 3

cdef struct RangeRequest:
    Span key
    Span range_end
    int64_t limit
    int64_t revision
    int64_t sort_order        # an open enum: unknown numbers reach check_range_request
    int64_t sort_target
    bint serializable
    bint keys_only
    bint count_only
    int64_t min_mod_revision
    int64_t max_mod_revision
    int64_t min_create_revision
    int64_t max_create_revision
    int64_t counted_at        # revision under which counts are remembered; 0: none. Not on the wire
    bint small_only           # give up where the range is not small; not on the wire
    bint uncounted            # stop at the limit: `count` is then what was met; not on the wire

cdef struct PutRequest:
    Span key
    Span value
    int64_t lease
    bint prev_kv
    bint ignore_value
    bint ignore_lease

cdef struct DeleteRangeRequest:
    Span key
    Span range_end
    bint prev_kv

cdef struct Compare:
    int64_t result
    int64_t target
    Span key
    Span range_end
    int64_t number            # version, revision or lease; 0 when the union holds another member
    Span value                # empty when the union holds another member

cdef struct TxnShape:
    int64_t compares
    int64_t success
    int64_t failure

cdef struct Op:
    uint32_t tag              # TAG_OP_*; 0 when the RequestOp names no request
    Span body

cdef int parse_range(Span span, RangeRequest *request) noexcept nogil
cdef int parse_put(Span span, PutRequest *request) noexcept nogil
cdef int parse_delete_range(Span span, DeleteRangeRequest *request) noexcept nogil
cdef int parse_compare(Span span, Compare *compare) noexcept nogil
# An operation that names more than one request is refused: whoever judges who may make it, by
# another parser, would merge them, and see something else than what is executed here.
cdef int parse_op(Span span, Op *op) noexcept nogil
cdef int parse_txn_shape(Span span, TxnShape *shape) noexcept nogil
# A message of int64 fields 1 and 2 (grant, revoke, compaction); absent fields are 0.
cdef int parse_numbers(Span span, int64_t *first, int64_t *second) noexcept nogil

cdef int check_range_request(Span span) noexcept nogil
cdef int check_put_request(Span span) noexcept nogil
cdef int check_delete_range_request(Span span) noexcept nogil
cdef int check_txn_request(Span span, int64_t ops_max) except -1
cdef bint txn_only_reads(Span span) noexcept nogil
cdef bint txn_only_serializable_reads(Span span) noexcept nogil
