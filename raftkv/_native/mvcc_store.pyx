"""The state machine of a member: applies batches, answers reads, flushes itself to LMDB.

One thread (the loop's) calls everything but what `MvccStore` hands to its own thread: writing a
frozen table and compaction steps, both without the GIL. Contracts are in `mvcc_store.pyi`.
"""

import struct
import weakref

from libc.stdint cimport INT64_MAX
from libc.string cimport memcpy
from raftkv._native.lmdb cimport (
    MDB_NEXT,
    MDB_NOTFOUND,
    MDB_SET_RANGE,
    MDB_cursor,
    MDB_val,
    mdb_cursor_close,
    mdb_cursor_get,
    mdb_cursor_open,
)
from raftkv._native.mem_table cimport MemTable, Record, lease_bucket
from raftkv._native.mvcc_request cimport (
    ERROR_COMPACTED,
    ERROR_DUPLICATE_KEY,
    ERROR_EMPTY_KEY,
    ERROR_FUTURE_REV,
    ERROR_INVALID_REQUEST,
    ERROR_INVALID_SORT_OPTION,
    ERROR_KEY_NOT_FOUND,
    ERROR_LEASE_EXIST,
    ERROR_LEASE_NOT_FOUND,
    ERROR_LEASE_PROVIDED,
    ERROR_LEASE_TTL_TOO_LARGE,
    ERROR_TOO_MANY_OPS,
    ERROR_VALUE_PROVIDED,
    check_delete_range_request,
    check_put_request,
    check_range_request,
    check_txn_request,
    parse_numbers,
    txn_only_reads,
    txn_only_serializable_reads,
)
from raftkv._native.mvcc_history cimport StateHash, collect_events
from raftkv._native.mvcc_view cimport FOUND_VERSION, KeyVersion, key_value_size, write_key_value
from raftkv._native.snapshot_reader cimport SnapshotReader
from raftkv._native.snapshot_writer cimport SnapshotWriter
from raftkv._native.state_flusher cimport StateFlusher
from raftkv._native.state_tree cimport (
    LEASE_KEY_BYTES,
    HistoryRecord,
    check_status,
    lease_key,
    read_be32,
    read_be64,
)
from raftkv._native.wire cimport buffer_free, span_of, span_size, write_varint_field

from raftkv._native.state_flusher import RECORD_PREFIX
from raftkv.errors import ErrorCode, StoreCorruptError, StoreError, StoreIOError

assert [
    ErrorCode.EMPTY_KEY, ErrorCode.KEY_NOT_FOUND, ErrorCode.VALUE_PROVIDED,
    ErrorCode.LEASE_PROVIDED, ErrorCode.TOO_MANY_OPS, ErrorCode.DUPLICATE_KEY,
    ErrorCode.INVALID_SORT_OPTION, ErrorCode.COMPACTED, ErrorCode.FUTURE_REV,
    ErrorCode.LEASE_NOT_FOUND, ErrorCode.LEASE_EXIST, ErrorCode.LEASE_TTL_TOO_LARGE,
    ErrorCode.INVALID_REQUEST,
] == [
    ERROR_EMPTY_KEY, ERROR_KEY_NOT_FOUND, ERROR_VALUE_PROVIDED,
    ERROR_LEASE_PROVIDED, ERROR_TOO_MANY_OPS, ERROR_DUPLICATE_KEY,
    ERROR_INVALID_SORT_OPTION, ERROR_COMPACTED, ERROR_FUTURE_REV,
    ERROR_LEASE_NOT_FOUND, ERROR_LEASE_EXIST, ERROR_LEASE_TTL_TOO_LARGE,
    ERROR_INVALID_REQUEST,
], "mvcc_request.pxd and raftkv.errors number errors differently"

cdef int64_t LEASE_TTL_S_MAX = 9_000_000_000

live_stores = 0
"""Stores not yet closed in this process."""


cdef inline bytes taken(Buffer *out):
    """The buffer's content as bytes; the buffer is ready for the next message."""
    cdef bytes message = out.data[:out.size] if out.size else b""
    out.size = 0
    if out.capacity > OUT_BYTES_KEPT:
        buffer_free(out)
    return message


cdef int64_t check_batch(Span rest) except -1:
    """Return the number of commands; ValueError unless they fill the batch exactly."""
    cdef uint32_t count, length, i
    if span_size(rest) < BATCH_HEADER_BYTES:
        raise ValueError(f"a batch of {span_size(rest)} bytes has no header")
    memcpy(&count, rest.at + 16, 4)
    rest.at += BATCH_HEADER_BYTES
    for i in range(count):
        if span_size(rest) < COMMAND_HEADER_BYTES:
            raise ValueError(f"a batch ends in command {i} of {count}")
        memcpy(&length, rest.at + 1, 4)
        if length > span_size(rest) - COMMAND_HEADER_BYTES:
            raise ValueError(f"command {i} of {count} passes the end of its batch")
        rest.at += COMMAND_HEADER_BYTES + length
    if span_size(rest):
        raise ValueError(f"{span_size(rest)} bytes after the last command of a batch")
    return count


cdef class MvccStore:
    def __cinit__(
        self, str path, *, cluster_id, member_id, map_size=1 << 40, table_bytes_max=64 << 20,
        txn_ops_max=128, flush_pool=None,
    ):
        global live_stores
        self.closed = True
        self.tree = StateTree(path, map_size)
        self.view = MvccView(self.tree)
        self.executor = MvccExecutor(self.view, cluster_id, member_id)
        self.flusher = StateFlusher(self.view, flush_pool)
        self.freeze_bytes = <size_t>max(table_bytes_max // 2, 1)
        self.txn_ops_max = txn_ops_max
        self.member_rows = {}
        self.dirty_rows = {}
        self.dirty_leases = {}
        self.lease_changes = []
        self.readers = weakref.WeakSet()
        try:
            self.flusher.load(cluster_id, member_id)
            self.load_state()
        except BaseException:
            self.tree.close()
            raise
        self.closed = False
        live_stores += 1

    def __dealloc__(self):
        buffer_free(&self.out)

    # -- opening and closing -----------------------------------------------------------------

    cdef int load_state(self) except -1:
        """Take what the tree holds for the whole state."""
        self.executor.leases.clear()
        self.member_rows.clear()
        self.dirty_rows = {}
        self.dirty_leases = {}
        self.load_rows()
        self.executor.revision = self.flusher.flushed_revision
        self.executor.compact_revision = self.flusher.flushed_compact_revision
        self.executor.load_keys(self.flusher.flushed_keys)
        self.applied_index = self.flusher.flushed_index
        self.applied_term = self.flusher.flushed_term
        return 0

    cdef int load_rows(self) except -1:
        for name, value in self.tree.rows_of(self.tree.leases, b""):
            if len(name) != 8 or len(value) != 8:
                raise StoreCorruptError("a lease row of the wrong size")
            self.executor.leases[struct.unpack(">q", name)[0]] = struct.unpack("<q", value)[0]
        for name, value in self.tree.rows_of(self.tree.meta, RECORD_PREFIX):
            self.member_rows[name[len(RECORD_PREFIX):]] = value
        return 0

    def close(self):
        global live_stores
        if self.closed:
            return
        self.closed = True
        for reader in list(self.readers):
            reader.close()
        self.flusher.close()
        self.view.frozen = None
        self.view.active = None
        self.tree.close()
        live_stores -= 1

    cdef int check_open(self) except -1:
        """Every method that looks into the layers calls this first: after close they are gone."""
        if self.closed:
            raise ValueError("the store is closed")
        failure = self.flusher.failure
        if failure is not None:
            raise StoreIOError(0, f"the store has failed: {failure}") from failure
        return 0

    # -- what is known without a lookup ------------------------------------------------------

    @property
    def revision(self):
        return self.executor.revision

    @property
    def compact_revision(self):
        return self.executor.compact_revision

    @property
    def path(self):
        return self.tree.path

    @property
    def compacted_revision(self):
        return self.flusher.compacted_revision

    @property
    def flushed_index(self):
        return self.flusher.flushed_index

    @property
    def flushed_revision(self):
        return self.flusher.flushed_revision

    @property
    def lease_count(self):
        return len(self.executor.leases)

    @property
    def table_bytes(self):
        frozen = self.view.frozen
        self.check_open()
        return self.view.active.bytes_used + (frozen.bytes_used if frozen is not None else 0)

    @property
    def table_full(self):
        self.check_open()
        return self.flusher.job is not None and self.flush_due()

    # -- checks before a proposal ------------------------------------------------------------

    def check_put(self, bytes request not None):
        return check_put_request(span_of(request))

    def check_delete_range(self, bytes request not None):
        return check_delete_range_request(span_of(request))

    def check_range(self, bytes request not None):
        return check_range_request(span_of(request))

    def check_txn(self, bytes request not None):
        return check_txn_request(span_of(request), self.txn_ops_max)

    def txn_is_read_only(self, bytes request not None):
        return txn_only_reads(span_of(request))

    def txn_is_serializable(self, bytes request not None):
        return txn_only_serializable_reads(span_of(request))

    # -- applying ----------------------------------------------------------------------------

    def apply(self, uint64_t index, uint64_t term, bytes batch not None, bint answer):
        self.check_open()
        cdef Span rest = span_of(batch)
        cdef Span body
        cdef uint32_t count, length, i
        cdef uint8_t kind
        cdef list answers = [] if answer else None
        if index <= self.applied_index:
            return answers
        count = check_batch(rest)
        self.executor.raft_term = term
        self.executor.entry = batch
        rest.at += BATCH_HEADER_BYTES
        try:
            for i in range(count):
                kind = rest.at[0]
                memcpy(&length, rest.at + 1, 4)
                body.at = rest.at + COMMAND_HEADER_BYTES
                body.end = body.at + length
                rest.at = body.end
                item = self.apply_command(kind, body, answer)
                if answer:
                    answers.append(item)
        finally:
            self.executor.entry = None
        self.applied_index = index
        self.applied_term = term
        self.maybe_flush()
        return answers

    cdef object apply_command(self, uint8_t kind, Span body, bint answer):
        """Run one command: its response message, error code, or (kind, payload) if opaque."""
        cdef int error
        cdef Buffer *out = &self.out
        out.size = 0
        if kind == KIND_PUT:
            error = self.executor.put(body, out)
        elif kind == KIND_TXN:
            error = self.executor.txn(body, out)
        elif kind == KIND_DELETE_RANGE:
            error = self.executor.delete_range(body, out)
        elif kind == KIND_COMPACTION:
            error = self.apply_compaction(body, out)
        elif kind == KIND_LEASE_GRANT:
            error = self.apply_lease_grant(body, out)
        elif kind == KIND_LEASE_REVOKE:
            error = self.apply_lease_revoke(body, out)
        elif kind >= KIND_OPAQUE_MIN:
            return (kind, (<const uint8_t *>body.at)[:body.end - body.at])
        else:
            error = ERROR_INVALID_REQUEST
        self.executor.finish()
        if error:
            return error
        return taken(out) if answer else None

    cdef int apply_compaction(self, Span body, Buffer *out) except -1:
        cdef int64_t revision, physical
        if parse_numbers(body, &revision, &physical):
            return ERROR_INVALID_REQUEST
        if revision <= self.executor.compact_revision:
            return ERROR_COMPACTED
        if revision > self.executor.revision:
            return ERROR_FUTURE_REV
        self.executor.compact_revision = revision
        self.executor.write_header(out, self.executor.revision, True)
        return 0

    cdef int apply_lease_grant(self, Span body, Buffer *out) except -1:
        cdef int64_t ttl, lease
        if parse_numbers(body, &ttl, &lease) or lease == 0:
            return ERROR_INVALID_REQUEST
        if ttl > LEASE_TTL_S_MAX:
            return ERROR_LEASE_TTL_TOO_LARGE
        if lease in self.executor.leases:
            return ERROR_LEASE_EXIST
        self.executor.leases[lease] = ttl
        self.dirty_leases[lease] = ttl
        self.lease_changes.append(("grant", lease, ttl))
        self.executor.write_header(out, self.executor.revision, True)
        write_varint_field(out, 16, <uint64_t>lease)
        write_varint_field(out, 24, <uint64_t>ttl)
        return 0

    cdef int apply_lease_revoke(self, Span body, Buffer *out) except -1:
        cdef int64_t lease, unused
        if parse_numbers(body, &lease, &unused):
            return ERROR_INVALID_REQUEST
        if lease not in self.executor.leases:
            return ERROR_LEASE_NOT_FOUND
        self.executor.delete_keys(self.lease_keys(lease))
        del self.executor.leases[lease]
        self.dirty_leases[lease] = None
        self.lease_changes.append(("revoke", lease, 0))
        self.executor.write_header(out, self.executor.seen_revision(), True)
        return 0

    def apply_empty(self, uint64_t index, uint64_t term):
        if index > self.applied_index:
            self.applied_index = index
            self.applied_term = term

    def put_member_record(self, bytes key not None, bytes value):
        if value is None:
            self.member_rows.pop(key, None)
        else:
            self.member_rows[key] = value
        self.dirty_rows[key] = value

    def member_records(self):
        return dict(self.member_rows)

    # -- reading -----------------------------------------------------------------------------

    def range(self, bytes request not None, uint64_t raft_term):
        self.check_open()
        self.executor.raft_term = raft_term
        self.out.size = 0
        cdef int error = self.executor.range(span_of(request), &self.out)
        return error if error else taken(&self.out)

    def small_range(self, bytes request not None, uint64_t raft_term):
        self.executor.small_only = True
        try:
            answer = self.range(request, raft_term)
        finally:
            self.executor.small_only = False
        return None if isinstance(answer, int) and answer < 0 else answer

    def range_page(self, bytes request not None, uint64_t raft_term):
        self.executor.uncounted = True
        try:
            return self.range(request, raft_term)
        finally:
            self.executor.uncounted = False

    def txn_read(self, bytes request not None, uint64_t raft_term):
        self.check_open()
        if not txn_only_reads(span_of(request)):
            return ERROR_INVALID_REQUEST
        self.executor.raft_term = raft_term
        self.out.size = 0
        cdef int error = self.executor.txn(span_of(request), &self.out)
        return error if error else taken(&self.out)

    def previous_kv(self, bytes key not None, int64_t revision):
        self.check_open()
        cdef KeyVersion version
        cdef size_t size
        if revision - 1 < self.executor.compact_revision:
            return None
        if self.view.lookup(key, len(key), revision - 1, &version) != FOUND_VERSION:
            return None
        self.view.load_value(&version)
        self.out.size = 0
        write_key_value(&self.out, 10, &version, True)
        size = key_value_size(&version, True)
        return self.out.data[self.out.size - size:self.out.size]

    def events(self, int64_t start_revision, int64_t end_revision, int64_t bytes_max):
        self.check_open()
        if start_revision < self.executor.compact_revision:
            raise StoreError(ERROR_COMPACTED)
        return collect_events(
            self.view, start_revision, end_revision, bytes_max, self.executor.compact_revision)

    def hash_begin(self, int64_t revision):
        self.check_open()
        if revision > self.executor.revision:
            raise StoreError(ERROR_FUTURE_REV)
        if 0 < revision < self.executor.compact_revision:
            raise StoreError(ERROR_COMPACTED)
        cdef StateHash work = StateHash()
        work.revision = revision if revision > 0 else self.executor.revision
        work.begin(self.view, self.executor.compact_revision)
        return work

    def hash_step(self, StateHash work not None, int64_t records_max):
        self.check_open()
        if work.compact_revision != self.executor.compact_revision and not work.done:
            if work.revision < self.executor.compact_revision:
                raise StoreError(ERROR_COMPACTED)
            work.begin(self.view, self.executor.compact_revision)
        if not work.done:
            work.step(max(records_max, 1))
        return work.done

    def hash_kv(self, int64_t revision):
        cdef StateHash work = self.hash_begin(revision)
        work.step(INT64_MAX)
        return work.value, work.compact_revision, work.revision

    # -- leases ------------------------------------------------------------------------------

    def lease_ttl(self, int64_t lease):
        return self.executor.leases.get(lease, 0)

    def lease_ids(self):
        return list(self.executor.leases)

    def take_lease_changes(self):
        changes = self.lease_changes
        self.lease_changes = []
        return changes

    def lease_keys(self, int64_t lease):
        self.check_open()
        cdef set keys = set()
        self.add_lease_keys_of_table(self.view.active, lease, keys)
        if self.view.frozen is not None:
            self.add_lease_keys_of_table(self.view.frozen, lease, keys)
        self.add_lease_keys_of_tree(lease, keys)
        return sorted(keys)

    cdef int add_lease_keys_of_table(self, MemTable table, int64_t lease, set keys) except -1:
        """Add the keys whose newest version is in this table and holds the lease."""
        cdef Record *record = lease_bucket(table, lease)
        while record != NULL:
            if record.lease == lease and record.node.newest == record and (
                    table is self.view.active
                    or self.view.active.find(record.node.key, record.node.key_size) == NULL):
                keys.add(record.node.key[:record.node.key_size])
            record = record.next_in_bucket
        return 0

    cdef int add_lease_keys_of_tree(self, int64_t lease, set keys) except -1:
        cdef MDB_cursor *cursor = NULL
        cdef MDB_val key, data
        cdef HistoryRecord record
        cdef uint8_t name[LEASE_KEY_BYTES]
        lease_key(name, lease, 0, 0)
        key.mv_data = name
        key.mv_size = LEASE_KEY_BYTES
        check_status(
            mdb_cursor_open(self.tree.snapshot, self.tree.lease_keys, &cursor), "read leases")
        try:
            status = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE)
            while status == 0 and <int64_t>read_be64(<uint8_t *>key.mv_data) == lease:
                if not self.tree.get_history(
                        <int64_t>read_be64(<uint8_t *>key.mv_data + 8),
                        read_be32(<uint8_t *>key.mv_data + 16), &record):
                    raise StoreCorruptError(f"lease {lease:x} holds a version that is not there")
                if not self.view.in_memory(record.key, record.header.key_size):
                    keys.add(record.key[:record.header.key_size])
                status = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)
            if status != MDB_NOTFOUND:
                check_status(status, "read leases")
        finally:
            mdb_cursor_close(cursor)
        return 0

    # -- flushing and compaction -------------------------------------------------------------

    def maybe_flush(self, bint force=False):
        cdef StateFlusher flusher = self.flusher
        self.check_open()
        if not flusher.idle():
            return
        if self.flush_due() or (force and self.dirty()):
            self.freeze()
            flusher.start_flush()
        elif flusher.compacted_revision < flusher.flushed_compact_revision:
            flusher.start_compaction()
        elif flusher.compacted_revision < self.executor.compact_revision:
            self.freeze()
            flusher.start_flush()

    @property
    def flush_running(self):
        return self.flusher.running()

    def flush(self):
        self.check_open()
        self.flusher.wait()
        if self.dirty():
            self.freeze()
            self.flusher.flush_now()

    def compact_step(self, int64_t records_max):
        cdef StateFlusher flusher = self.flusher
        self.check_open()
        flusher.wait()
        if flusher.compacted_revision >= self.executor.compact_revision:
            return False
        if flusher.flushed_compact_revision < self.executor.compact_revision:
            self.flush()
        flusher.compact_now(records_max)
        return flusher.compacted_revision < self.executor.compact_revision

    def counts(self):
        cdef MvccExecutor done = self.executor
        return done.keys, done.puts, done.deletes, done.ranges, done.txns, done.put_bytes

    def db_size(self):
        self.check_open()
        return self.tree.sizes()

    # -- snapshots ---------------------------------------------------------------------------

    def snapshot_open(self, bint flush=True):
        self.check_open()
        # One that is closed may still be referred to, by a traceback for example.
        if sum((<SnapshotReader>one).txn != NULL for one in self.readers) >= SNAPSHOTS_MAX:
            raise ValueError(f"{SNAPSHOTS_MAX} snapshots are open already")
        if flush:
            self.flush()
        self.flusher.allow_reader()
        reader = SnapshotReader(self.tree)
        self.readers.add(reader)
        return reader

    def install(self, SnapshotWriter writer not None):
        self.check_open()
        if not writer.complete or writer.directory != self.tree.path:
            raise ValueError("not a complete snapshot beside this state")
        if writer.index < self.applied_index:
            raise ValueError(f"a snapshot at {writer.index} is behind {self.applied_index}")
        before = dict(self.executor.leases)
        for reader in list(self.readers):
            reader.close()
        writer.complete = False
        self.flusher.install(writer.file, self.executor.cluster_id, self.executor.member_id)
        self.load_state()
        for lease, ttl in before.items():
            if self.executor.leases.get(lease) != ttl:
                self.lease_changes.append(("revoke", lease, 0))
        for lease, ttl in self.executor.leases.items():
            if before.get(lease) != ttl:
                self.lease_changes.append(("grant", lease, ttl))

    cdef bint flush_due(self) noexcept:
        return (self.view.active.bytes_used >= self.freeze_bytes
                or self.view.active.keys >= FREEZE_KEYS)

    cdef bint dirty(self) except -1:
        return (self.applied_index != self.flusher.flushed_index or self.view.active.records > 0
                or bool(self.dirty_rows) or bool(self.dirty_leases))

    cdef int freeze(self) except -1:
        """Hand everything that is not on disk to the flusher."""
        self.flusher.freeze(
            self.applied_index, self.applied_term, self.executor.revision,
            self.executor.compact_revision, self.executor.keys, self.dirty_leases, self.dirty_rows,
        )
        self.dirty_leases = {}
        self.dirty_rows = {}
        return 0
