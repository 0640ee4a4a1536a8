"""Executing KV commands: see `mvcc_executor.pxd` for the contracts.

A transaction runs in two passes (etcd `server/etcdserver/txn/txn.go`): the first evaluates every
comparison on the way, nested ones too, against the state before the transaction, and refuses what
cannot run; the second runs the operations in order, each seeing the writes before it.
"""

from libc.stdint cimport INT64_MAX
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove
from raftkv._native.mem_table cimport Record, compare_keys
from raftkv._native.mvcc_range cimport write_range
from raftkv._native.mvcc_request cimport (
    COMPARE_CREATE,
    COMPARE_LEASE,
    COMPARE_MOD,
    COMPARE_VALUE,
    COMPARE_VERSION,
    ERROR_COMPACTED,
    ERROR_FUTURE_REV,
    ERROR_INVALID_REQUEST,
    ERROR_KEY_NOT_FOUND,
    ERROR_LEASE_NOT_FOUND,
    ERROR_TOO_MANY_OPS,
    RESULT_EQUAL,
    RESULT_GREATER,
    RESULT_LESS,
    RESULT_NOT_EQUAL,
    TAG_OP_DELETE_RANGE,
    TAG_OP_PUT,
    TAG_OP_RANGE,
    TAG_OP_TXN,
    TAG_TXN_COMPARE,
    TAG_TXN_FAILURE,
    TAG_TXN_SUCCESS,
    TXN_DEPTH_MAX,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    check_delete_range_request,
    check_put_request,
    check_range_request,
    parse_compare,
    parse_delete_range,
    parse_op,
    parse_put,
    parse_range,
)
from raftkv._native.mvcc_view cimport (
    FOUND_NOTHING,
    FOUND_VERSION,
    MergeCursor,
    close_merge,
    write_key_value,
)
from raftkv._native.wire cimport (
    Field,
    buffer_close,
    buffer_free,
    buffer_reserve,
    next_field,
    put_byte,
    put_raw,
    put_varint,
    span_size,
    varint_size,
    write_varint_field,
)

cdef enum:
    NOT_SMALL = -2                # no error of etcd's: see `small_only`
    HEADER_BYTES_MAX = 48         # four varint fields of at most 11 bytes, tag and length


cdef struct Doomed:
    KeyVersion *at
    size_t size
    size_t capacity


cdef int append_doomed(Doomed *doomed, const KeyVersion *version) except -1:
    cdef size_t capacity
    cdef void *memory
    if doomed.size == doomed.capacity:
        capacity = doomed.capacity * 2 if doomed.capacity else 16
        memory = realloc(doomed.at, capacity * sizeof(KeyVersion))
        if memory == NULL:
            raise MemoryError(f"no memory to delete {capacity} keys")
        doomed.at = <KeyVersion *>memory
        doomed.capacity = capacity
    doomed.at[doomed.size] = version[0]
    doomed.size += 1
    return 0


cdef bint compare_holds(const Compare *compare, const KeyVersion *version) noexcept nogil:
    """Compare one version; a NULL stands for the missing key, whose numbers are all zero."""
    cdef int64_t number = 0
    cdef int order
    if compare.target == COMPARE_VALUE:
        order = compare_keys(
            version.value, version.value_size, compare.value.at, span_size(compare.value))
    else:
        if version != NULL:
            if compare.target == COMPARE_VERSION:
                number = version.version
            elif compare.target == COMPARE_CREATE:
                number = version.create_revision
            elif compare.target == COMPARE_MOD:
                number = version.main
            elif compare.target == COMPARE_LEASE:
                number = version.lease
        order = (number > compare.number) - (number < compare.number)
    if compare.result == RESULT_EQUAL:
        return order == 0
    if compare.result == RESULT_GREATER:
        return order > 0
    if compare.result == RESULT_LESS:
        return order < 0
    if compare.result == RESULT_NOT_EQUAL:
        return order != 0
    return True                   # etcd: an unknown result holds


cdef class MvccExecutor:
    """Runs commands for the store, one at a time."""

    def __cinit__(self, view: MvccView, cluster_id: int, member_id: int) -> None:
        self.view = view
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.revision = 1
        self.compact_revision = -1
        self.leases = {}

    def __dealloc__(self) -> None:
        buffer_free(&self.path)

    cdef int load_keys(self, bytes stored) except -1:
        cdef MergeCursor at
        cdef KeyVersion version
        cdef Span everything
        self.view.counts.forget()
        self.keys = 0
        if stored is not None:
            self.keys = int.from_bytes(stored, "little", signed=True)
            return 0
        everything.at = <const uint8_t *>b"\0"
        everything.end = everything.at + 1
        self.view.open_merge(&at, everything, everything, INT64_MAX)
        try:
            while self.view.next_version(&at, &version):
                self.keys += 1
        finally:
            close_merge(&at)
        return 0

    cdef int64_t finish(self) noexcept nogil:
        if self.sub:
            self.revision += 1
            self.sub = 0
        return self.revision

    cdef int64_t seen_revision(self) noexcept nogil:
        """The revision that an operation of the running command reports."""
        return self.revision + 1 if self.sub else self.revision

    cdef int check_revision(self, int64_t revision) noexcept nogil:
        if revision > self.revision:
            return ERROR_FUTURE_REV
        if 0 < revision < self.compact_revision:
            return ERROR_COMPACTED
        return 0

    cdef int write_header(self, Buffer *out, int64_t revision, bint top) except -1:
        """Append a ResponseHeader; inside a transaction etcd fills in nothing but the revision."""
        cdef size_t size = 1 + varint_size(<uint64_t>revision)
        if top:
            size += 1 + varint_size(self.cluster_id) if self.cluster_id else 0
            size += 1 + varint_size(self.member_id) if self.member_id else 0
            size += 1 + varint_size(self.raft_term) if self.raft_term else 0
        buffer_reserve(out, HEADER_BYTES_MAX)
        put_byte(out, 10)
        put_byte(out, <uint8_t>size)
        if top and self.cluster_id:
            put_byte(out, 8)
            put_varint(out, self.cluster_id)
        if top and self.member_id:
            put_byte(out, 16)
            put_varint(out, self.member_id)
        put_byte(out, 24)
        put_varint(out, <uint64_t>revision)
        if top and self.raft_term:
            put_byte(out, 32)
            put_varint(out, self.raft_term)
        return 0

    cdef int range(self, Span body, Buffer *out) except -1:
        return self.run_range(body, out, True)

    cdef int put(self, Span body, Buffer *out) except -1:
        return self.run_put(body, out, True)

    cdef int delete_range(self, Span body, Buffer *out) except -1:
        return self.run_delete_range(body, out, True)

    cdef int run_range(self, Span body, Buffer *out, bint top) except -1:
        cdef RangeRequest request
        cdef int error = check_range_request(body)
        if error:
            return error
        parse_range(body, &request)
        error = self.check_revision(request.revision)
        if error:
            return error
        self.ranges += 1
        self.write_header(out, self.seen_revision(), top)
        request.small_only = self.small_only
        request.uncounted = self.uncounted
        if request.revision > 0:
            request.counted_at = request.revision
        elif self.sub == 0:
            request.counted_at = self.revision
        if write_range(
                self.view, &request, request.revision if request.revision > 0 else INT64_MAX, out):
            return NOT_SMALL
        return 0

    cdef int run_put(self, Span body, Buffer *out, bint top) except -1:
        cdef PutRequest request
        cdef KeyVersion prior
        cdef Record *record
        cdef int found
        cdef int error = check_put_request(body)
        if error:
            return error
        parse_put(body, &request)
        if request.lease and request.lease not in self.leases:
            return ERROR_LEASE_NOT_FOUND
        found = self.view.lookup(request.key.at, span_size(request.key), INT64_MAX, &prior)
        if found != FOUND_VERSION and (request.ignore_value or request.ignore_lease):
            return ERROR_KEY_NOT_FOUND
        if found == FOUND_VERSION and (request.prev_kv or request.ignore_value):
            self.view.load_value(&prior)
        if request.ignore_value:
            request.value.at = prior.value
            request.value.end = prior.value + prior.value_size
        if request.ignore_lease:
            request.lease = prior.lease
        self.write_header(out, self.revision + 1, top)
        if request.prev_kv and found == FOUND_VERSION:
            write_key_value(out, 18, &prior, True)
        record = self.view.active.add(
            request.key.at, span_size(request.key), request.value.at, span_size(request.value),
            self.revision + 1, self.sub, request.lease, self.entry,
        )
        self.sub += 1
        self.puts += 1
        self.put_bytes += span_size(request.key) + span_size(request.value)
        self.keys += found != FOUND_VERSION
        if found == FOUND_VERSION:
            record.create_revision = prior.create_revision
            record.version = prior.version + 1
        else:
            record.create_revision = self.revision + 1
            record.version = 1
        if found != FOUND_NOTHING:
            record.previous_main = prior.main
            record.previous_sub = prior.sub
        return 0

    cdef int add_tombstone(self, const KeyVersion *version) except -1:
        cdef Record *record = self.view.active.add(
            version.key, version.key_size, NULL, 0, self.revision + 1, self.sub, 0, None)
        record.previous_main = version.main
        record.previous_sub = version.sub
        self.sub += 1
        self.keys -= 1
        return 0

    cdef int run_delete_range(self, Span body, Buffer *out, bint top) except -1:
        cdef DeleteRangeRequest request
        cdef MergeCursor at
        cdef KeyVersion version
        cdef Doomed doomed
        cdef size_t i
        cdef int error = check_delete_range_request(body)
        if error:
            return error
        parse_delete_range(body, &request)
        self.deletes += 1
        doomed.at = NULL
        doomed.size = doomed.capacity = 0
        self.view.open_merge(&at, request.key, request.range_end, INT64_MAX)
        try:
            while self.view.next_version(&at, &version):
                append_doomed(&doomed, &version)
            self.write_header(
                out, self.revision + 1 if doomed.size else self.seen_revision(), top)
            write_varint_field(out, 16, doomed.size)
            for i in range(doomed.size):
                if request.prev_kv:
                    self.view.load_value(&doomed.at[i])
                    write_key_value(out, 26, &doomed.at[i], True)
            for i in range(doomed.size):
                self.add_tombstone(&doomed.at[i])
        finally:
            close_merge(&at)
            free(doomed.at)
        return 0

    cdef int delete_keys(self, list keys) except -1:
        cdef KeyVersion version
        self.deletes += len(keys)
        for key in keys:
            if self.view.lookup(<const uint8_t *><bytes>key, len(key), INT64_MAX,
                                &version) == FOUND_VERSION:
                self.add_tombstone(&version)
        return 0

    cdef int txn(self, Span body, Buffer *out) except -1:
        cdef size_t start = out.size
        cdef uint8_t memory[HEADER_BYTES_MAX]
        cdef Buffer header
        cdef int error
        cdef int64_t before = self.puts + self.deletes + self.ranges
        self.path.size = 0
        self.path_at = 0
        self.range_error = 0
        error = self.plan_txn(body, 1)
        if error or self.range_error:
            return error if error else self.range_error
        error = self.run_txn(body, out)
        if error:
            return error
        self.txns += self.puts + self.deletes + self.ranges > before + 1
        header.data = memory
        header.size = 0
        header.capacity = HEADER_BYTES_MAX
        self.write_header(&header, self.seen_revision(), True)
        buffer_reserve(out, header.size)
        memmove(out.data + start + header.size, out.data + start, out.size - start)
        memcpy(out.data + start, header.data, header.size)
        out.size += header.size
        return 0

    cdef bint holds(self, const Compare *compare) except -1:
        """Evaluate one comparison over its key or, with range_end, over every key there."""
        cdef MergeCursor at
        cdef KeyVersion version
        cdef bint any_key = False
        self.view.open_merge(&at, compare.key, compare.range_end, INT64_MAX)
        try:
            while self.view.next_version(&at, &version):
                any_key = True
                if compare.target == COMPARE_VALUE:
                    self.view.load_value(&version)
                if not compare_holds(compare, &version):
                    return False
        finally:
            close_merge(&at)
        if any_key:
            return True
        return compare.target != COMPARE_VALUE and compare_holds(compare, NULL)

    cdef int plan_txn(self, Span body, int depth) except -1:
        """Choose the branch, then check its operations; nested transactions the same way."""
        cdef Span rest = body
        cdef Field field
        cdef Compare compare
        cdef Op op
        cdef bint succeeded = True
        cdef uint32_t branch
        cdef int status, error
        if depth > TXN_DEPTH_MAX:
            return ERROR_TOO_MANY_OPS
        while True:
            status = next_field(&rest, &field)
            if status < 0:
                return ERROR_INVALID_REQUEST
            if status == 0:
                break
            if field.tag == TAG_TXN_COMPARE:
                if parse_compare(field.span, &compare) or span_size(compare.key) == 0:
                    return ERROR_INVALID_REQUEST
                succeeded = succeeded and self.holds(&compare)
        buffer_reserve(&self.path, 1)
        put_byte(&self.path, succeeded)
        branch = TAG_TXN_SUCCESS if succeeded else TAG_TXN_FAILURE
        rest = body
        while next_field(&rest, &field) > 0:
            if field.tag == branch:
                if parse_op(field.span, &op):
                    return ERROR_INVALID_REQUEST
                error = self.plan_op(op, depth)
                if error:
                    return error
        return 0

    cdef int plan_op(self, Op op, int depth) except -1:
        cdef RangeRequest get
        cdef PutRequest put
        cdef KeyVersion prior
        cdef int error
        if op.tag == TAG_OP_RANGE:
            error = check_range_request(op.body)
            if error:
                return error
            parse_range(op.body, &get)
            if not self.range_error:
                self.range_error = self.check_revision(get.revision)
            return 0
        if op.tag == TAG_OP_PUT:
            error = check_put_request(op.body)
            if error:
                return error
            parse_put(op.body, &put)
            if (put.ignore_value or put.ignore_lease) and self.view.lookup(
                    put.key.at, span_size(put.key), INT64_MAX, &prior) != FOUND_VERSION:
                return ERROR_KEY_NOT_FOUND
            if put.lease and put.lease not in self.leases:
                return ERROR_LEASE_NOT_FOUND
            return 0
        if op.tag == TAG_OP_DELETE_RANGE:
            return check_delete_range_request(op.body)
        if op.tag == TAG_OP_TXN:
            return self.plan_txn(op.body, depth + 1)
        return ERROR_KEY_NOT_FOUND

    cdef int run_txn(self, Span body, Buffer *out) except -1:
        """Append `succeeded` and the responses of the branch that `path` names."""
        cdef Field field
        cdef Op op
        cdef int error
        cdef bint succeeded = self.path.data[self.path_at]
        cdef uint32_t branch = TAG_TXN_SUCCESS if succeeded else TAG_TXN_FAILURE
        self.path_at += 1
        write_varint_field(out, 16, succeeded)
        while next_field(&body, &field) > 0:
            if field.tag == branch:
                parse_op(field.span, &op)
                error = self.run_op(op, out)
                if error:
                    return error
        return 0

    cdef int run_op(self, Op op, Buffer *out) except -1:
        """Append one ResponseOp: an envelope around the response, under the request's own tag."""
        cdef size_t outer, inner
        cdef int error
        buffer_reserve(out, 2)
        put_byte(out, 26)
        outer = out.size
        put_byte(out, <uint8_t>op.tag)
        inner = out.size
        if op.tag == TAG_OP_RANGE:
            error = self.run_range(op.body, out, False)
        elif op.tag == TAG_OP_PUT:
            error = self.run_put(op.body, out, False)
        elif op.tag == TAG_OP_DELETE_RANGE:
            error = self.run_delete_range(op.body, out, False)
        else:
            buffer_reserve(out, 2)
            put_byte(out, 10)       # etcd: the header of a nested transaction is there, and empty
            put_byte(out, 0)
            error = self.run_txn(op.body, out)
        if error:
            return error
        buffer_close(out, inner)
        return buffer_close(out, outer)
