"""Parsing and stateless checks of KV requests: see `mvcc_request.pxd` for the contracts.

The rules of `check_txn_request` are etcd's (`api/v3rpc/key.go`): a key may be put once on any path
that can run, and not both put and deleted; two deletes may overlap, and so may two branches that
exclude each other.
"""

from bisect import bisect_right

from libc.string cimport memset
from raftkv._native.wire cimport next_field, span_size


cdef int parse_range(Span span, RangeRequest *request) noexcept nogil:
    cdef Field field
    cdef int status
    memset(request, 0, sizeof(RangeRequest))
    while True:
        status = next_field(&span, &field)
        if status <= 0:
            return 0 if status == 0 else ERROR_INVALID_REQUEST
        if field.tag == 10:
            request.key = field.span
        elif field.tag == 18:
            request.range_end = field.span
        elif field.tag == 24:
            request.limit = <int64_t>field.varint
        elif field.tag == 32:
            request.revision = <int64_t>field.varint
        elif field.tag == 40:
            request.sort_order = <int64_t>field.varint
        elif field.tag == 48:
            request.sort_target = <int64_t>field.varint
        elif field.tag == 56:
            request.serializable = field.varint != 0
        elif field.tag == 64:
            request.keys_only = field.varint != 0
        elif field.tag == 72:
            request.count_only = field.varint != 0
        elif field.tag == 80:
            request.min_mod_revision = <int64_t>field.varint
        elif field.tag == 88:
            request.max_mod_revision = <int64_t>field.varint
        elif field.tag == 96:
            request.min_create_revision = <int64_t>field.varint
        elif field.tag == 104:
            request.max_create_revision = <int64_t>field.varint


cdef int parse_put(Span span, PutRequest *request) noexcept nogil:
    cdef Field field
    cdef int status
    memset(request, 0, sizeof(PutRequest))
    while True:
        status = next_field(&span, &field)
        if status <= 0:
            return 0 if status == 0 else ERROR_INVALID_REQUEST
        if field.tag == 10:
            request.key = field.span
        elif field.tag == 18:
            request.value = field.span
        elif field.tag == 24:
            request.lease = <int64_t>field.varint
        elif field.tag == 32:
            request.prev_kv = field.varint != 0
        elif field.tag == 40:
            request.ignore_value = field.varint != 0
        elif field.tag == 48:
            request.ignore_lease = field.varint != 0


cdef int parse_delete_range(Span span, DeleteRangeRequest *request) noexcept nogil:
    cdef Field field
    cdef int status
    memset(request, 0, sizeof(DeleteRangeRequest))
    while True:
        status = next_field(&span, &field)
        if status <= 0:
            return 0 if status == 0 else ERROR_INVALID_REQUEST
        if field.tag == 10:
            request.key = field.span
        elif field.tag == 18:
            request.range_end = field.span
        elif field.tag == 24:
            request.prev_kv = field.varint != 0


cdef int parse_compare(Span span, Compare *compare) noexcept nogil:
    cdef Field field
    cdef int status
    cdef int64_t union_target = -1
    memset(compare, 0, sizeof(Compare))
    while True:
        status = next_field(&span, &field)
        if status < 0:
            return ERROR_INVALID_REQUEST
        if status == 0:
            break
        if field.tag == 8:
            compare.result = <int64_t>field.varint
        elif field.tag == 16:
            compare.target = <int64_t>field.varint
        elif field.tag == 26:
            compare.key = field.span
        elif field.tag == 32 or field.tag == 40 or field.tag == 48 or field.tag == 64:
            union_target = COMPARE_LEASE if field.tag == 64 else (field.tag - 32) // 8
            compare.number = <int64_t>field.varint
        elif field.tag == 58:
            union_target = COMPARE_VALUE
            compare.value = field.span
        elif field.tag == 514:
            compare.range_end = field.span
    if union_target != compare.target:
        compare.number = 0
        compare.value.at = compare.value.end = NULL
    return 0


cdef int parse_op(Span span, Op *op) noexcept nogil:
    cdef Field field
    cdef int status
    memset(op, 0, sizeof(Op))
    while True:
        status = next_field(&span, &field)
        if status <= 0:
            return 0 if status == 0 else ERROR_INVALID_REQUEST
        if (field.tag == TAG_OP_RANGE or field.tag == TAG_OP_PUT
                or field.tag == TAG_OP_DELETE_RANGE or field.tag == TAG_OP_TXN):
            if op.tag:
                return ERROR_INVALID_REQUEST
            op.tag = field.tag
            op.body = field.span


cdef int parse_txn_shape(Span span, TxnShape *shape) noexcept nogil:
    cdef Field field
    cdef int status
    memset(shape, 0, sizeof(TxnShape))
    while True:
        status = next_field(&span, &field)
        if status <= 0:
            return 0 if status == 0 else ERROR_INVALID_REQUEST
        if field.tag == TAG_TXN_COMPARE:
            shape.compares += 1
        elif field.tag == TAG_TXN_SUCCESS:
            shape.success += 1
        elif field.tag == TAG_TXN_FAILURE:
            shape.failure += 1


cdef int parse_numbers(Span span, int64_t *first, int64_t *second) noexcept nogil:
    cdef Field field
    cdef int status
    first[0] = 0
    second[0] = 0
    while True:
        status = next_field(&span, &field)
        if status <= 0:
            return 0 if status == 0 else ERROR_INVALID_REQUEST
        if field.tag == 8:
            first[0] = <int64_t>field.varint
        elif field.tag == 16:
            second[0] = <int64_t>field.varint


cdef int check_range_request(Span span) noexcept nogil:
    cdef RangeRequest request
    if parse_range(span, &request):
        return ERROR_INVALID_REQUEST
    if span_size(request.key) == 0:
        return ERROR_EMPTY_KEY
    if (request.sort_order < SORT_NONE or request.sort_order > SORT_DESCEND
            or request.sort_target < TARGET_KEY or request.sort_target > TARGET_VALUE):
        return ERROR_INVALID_SORT_OPTION
    return 0


cdef int check_put_request(Span span) noexcept nogil:
    cdef PutRequest request
    if parse_put(span, &request):
        return ERROR_INVALID_REQUEST
    if span_size(request.key) == 0:
        return ERROR_EMPTY_KEY
    if request.ignore_value and span_size(request.value):
        return ERROR_VALUE_PROVIDED
    if request.ignore_lease and request.lease:
        return ERROR_LEASE_PROVIDED
    return 0


cdef int check_delete_range_request(Span span) noexcept nogil:
    cdef DeleteRangeRequest request
    if parse_delete_range(span, &request):
        return ERROR_INVALID_REQUEST
    return ERROR_EMPTY_KEY if span_size(request.key) == 0 else 0


cdef int check_op(Op op, int64_t ops_max, int depth) noexcept nogil:
    if op.tag == TAG_OP_RANGE:
        return check_range_request(op.body)
    if op.tag == TAG_OP_PUT:
        return check_put_request(op.body)
    if op.tag == TAG_OP_DELETE_RANGE:
        return check_delete_range_request(op.body)
    if op.tag == TAG_OP_TXN:
        return check_txn_ops(op.body, ops_max, depth + 1)
    return ERROR_KEY_NOT_FOUND      # etcd's answer to an operation that names no request


cdef int check_txn_ops(Span span, int64_t ops_max, int depth) noexcept nogil:
    """Check budget, keys and nested requests; a nested transaction gets what its parent leaves."""
    cdef TxnShape shape
    cdef Field field
    cdef Compare compare
    cdef Op op
    cdef int error
    cdef int64_t used
    if parse_txn_shape(span, &shape):
        return ERROR_INVALID_REQUEST
    used = max(shape.compares, max(shape.success, shape.failure))
    if used > ops_max or depth > TXN_DEPTH_MAX:
        return ERROR_TOO_MANY_OPS
    while next_field(&span, &field) > 0:
        if field.tag == TAG_TXN_COMPARE:
            if parse_compare(field.span, &compare):
                return ERROR_INVALID_REQUEST
            if span_size(compare.key) == 0:
                return ERROR_EMPTY_KEY
        elif field.tag == TAG_TXN_SUCCESS or field.tag == TAG_TXN_FAILURE:
            if parse_op(field.span, &op):
                return ERROR_INVALID_REQUEST
            error = check_op(op, ops_max - used, depth)
            if error:
                return error
    return 0


cdef class Writes:
    """What one branch may write: keys put, and disjoint sorted key intervals deleted.

    An interval is (first key, end key); an end at or before the first key makes it empty.
    """

    cdef set puts
    cdef list deletes
    cdef list starts

    def __cinit__(self) -> None:
        self.puts = set()
        self.deletes = []
        self.starts = []

    cdef int settle(self) except -1:
        """Sort and merge `deletes`, so that `deletes_key` can search. O(n log n)."""
        cdef list merged = []
        first = last = None
        for start, end in sorted(self.deletes, key=first_of):
            if end <= start:
                continue
            if first is not None and start <= last:
                last = max(last, end)
                continue
            if first is not None:
                merged.append((first, last))
            first, last = start, end
        if first is not None:
            merged.append((first, last))
        self.deletes = merged
        self.starts = [start for start, _ in merged]
        return 0

    cdef bint deletes_key(self, bytes key) except -1:
        at = bisect_right(self.starts, key) - 1
        if at < 0:
            return False
        return key < self.deletes[at][1]


cdef object first_of(tuple pair):
    return pair[0]


cdef bytes span_bytes(Span span):
    return span.at[:span.end - span.at] if span.at != NULL else b""


cdef tuple delete_interval(Span body):
    cdef DeleteRangeRequest request
    parse_delete_range(body, &request)
    key = span_bytes(request.key)
    end = span_bytes(request.range_end)
    if not end:
        return (key, key + b"\0")
    return (key, end)           # as etcd: a delete without end, b"\0", clashes with no put


cdef int add_nested(Writes writes, Span txn) except -1:
    """Add what both branches of a nested transaction write; ERROR_DUPLICATE_KEY on a clash."""
    cdef Writes success = Writes(), failure = Writes()
    cdef int error = collect_writes(txn, TAG_TXN_SUCCESS, success)
    if not error:
        error = collect_writes(txn, TAG_TXN_FAILURE, failure)
    if error:
        return error
    for key in success.puts:
        if key in writes.puts or writes.deletes_key(key):
            return ERROR_DUPLICATE_KEY
    for key in failure.puts:
        if (key in writes.puts and key not in success.puts) or writes.deletes_key(key):
            return ERROR_DUPLICATE_KEY
    writes.puts |= success.puts
    writes.puts |= failure.puts
    writes.deletes += success.deletes
    writes.deletes += failure.deletes
    writes.settle()
    return 0


cdef int collect_writes(Span txn, uint32_t branch, Writes writes) except -1:
    """Gather one branch: its deletes, then nested ones, then its own puts (etcd's order)."""
    cdef Span rest
    cdef Field field
    cdef Op op
    cdef PutRequest put
    cdef int step, error
    for step in range(3):
        rest = txn
        while next_field(&rest, &field) > 0:
            if field.tag != branch or parse_op(field.span, &op):
                continue
            if step == 0 and op.tag == TAG_OP_DELETE_RANGE:
                writes.deletes.append(delete_interval(op.body))
            elif step == 1 and op.tag == TAG_OP_TXN:
                error = add_nested(writes, op.body)
                if error:
                    return error
            elif step == 2 and op.tag == TAG_OP_PUT:
                parse_put(op.body, &put)
                key = span_bytes(put.key)
                if key in writes.puts or writes.deletes_key(key):
                    return ERROR_DUPLICATE_KEY
                writes.puts.add(key)
        if step == 0:
            writes.settle()
    return 0


cdef int check_txn_request(Span span, int64_t ops_max) except -1:
    """Check a whole transaction. Cost: O(n log n) in its writes, times its depth."""
    cdef TxnShape shape
    cdef int error = check_txn_ops(span, ops_max, 1)
    if error:
        return error
    parse_txn_shape(span, &shape)
    if shape.success > 1 or has_nested(span):
        error = collect_writes(span, TAG_TXN_SUCCESS, Writes())
    if not error and (shape.failure > 1 or has_nested(span)):
        error = collect_writes(span, TAG_TXN_FAILURE, Writes())
    return error


cdef bint has_nested(Span txn) noexcept nogil:
    cdef Field field
    cdef Op op
    while next_field(&txn, &field) > 0:
        if field.tag == TAG_TXN_SUCCESS or field.tag == TAG_TXN_FAILURE:
            if parse_op(field.span, &op) == 0 and op.tag == TAG_OP_TXN:
                return True
    return False


cdef bint txn_only_reads(Span span) noexcept nogil:
    cdef Field field
    cdef Op op
    while next_field(&span, &field) > 0:
        if field.tag == TAG_TXN_SUCCESS or field.tag == TAG_TXN_FAILURE:
            if parse_op(field.span, &op) or op.tag != TAG_OP_RANGE:
                return False
    return True


cdef bint txn_only_serializable_reads(Span span) noexcept nogil:
    cdef Field field
    cdef Op op
    cdef RangeRequest request
    while next_field(&span, &field) > 0:
        if field.tag == TAG_TXN_SUCCESS or field.tag == TAG_TXN_FAILURE:
            if parse_op(field.span, &op) or op.tag != TAG_OP_RANGE:
                return False
            if parse_range(op.body, &request) or not request.serializable:
                return False
    return True
