"""The flusher of the state: see `state_flusher.pxd` for the contracts."""

import struct
from concurrent.futures import ThreadPoolExecutor

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from raftkv._native.mem_table cimport MemTable
from raftkv._native.state_tree cimport StateTree, check_status
from raftkv._native.state_undo cimport undo_above
from raftkv._native.state_writer cimport (
    SIDE_LEASES,
    SIDE_META,
    CompactionStep,
    TableWrite,
    add_side_row,
    begin_table,
    compact_some,
    write_some,
    write_table,
)
from raftkv._native.wire cimport buffer_free

from raftkv.errors import StoreCorruptError, StoreIOError

FORMAT = b"raftkv state 1"
RECORD_PREFIX = b"r/"


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef void rest(int64_t step_ns) noexcept nogil:
    """Leave disk and processor to others for twice as long as the step took, within bounds."""
    cdef timespec time
    time.tv_sec = 0
    time.tv_nsec = max(<int64_t>REST_NS_MIN, min(2 * step_ns, <int64_t>REST_NS_MAX))
    nanosleep(&time, NULL)


cdef bint in_time(const TableWrite *at, MemTable table, MemTable above) noexcept nogil:
    """Tell whether `table` is written at least twice as far as the one above it is full."""
    return (at.done * table.bytes_used >= 2 * above.bytes_used * at.total
            and at.done * table.records >= 2 * above.records * at.total)


cdef class StateFlusher:
    """Owns what is known of the disk; `MvccStore` decides when to flush and compact."""

    def __cinit__(self, view: MvccView, pool: object) -> None:
        self.view = view
        self.flushed_revision = 1
        self.flushed_compact_revision = self.compacted_revision = -1
        self.pool = pool or ThreadPoolExecutor(1, thread_name_prefix="raftkv-flush")

    def __dealloc__(self) -> None:
        buffer_free(&self.side_rows)

    cdef int close(self) except -1:
        self.hurry = True
        self.pool.shutdown(wait=True)
        self.job = None
        return 0

    cdef int load(self, uint64_t cluster_id, uint64_t member_id) except -1:
        """Read how far the disk is, or make it the member's own if it is new."""
        cdef StateTree tree = self.view.tree
        cdef bytes format = tree.get_meta(b"format")
        if format is None:
            return self.write_identity(cluster_id, member_id)
        if format != FORMAT:
            raise StoreCorruptError(f"{tree.path} has format {format!r}, not {FORMAT!r}")
        try:
            identity = struct.unpack("<QQ", tree.get_meta(b"identity") or b"")
            applied = struct.unpack("<QQ", tree.get_meta(b"applied") or bytes(16))
            revision = tree.get_meta(b"revision") or struct.pack("<qq", 1, -1)
            revisions = struct.unpack("<qq", revision)
            compaction = struct.unpack("<qq", tree.get_meta(b"compaction") or bytes(16))
        except struct.error as error:
            raise StoreCorruptError(f"{tree.path} has damaged meta data") from error
        if identity != (cluster_id, member_id):
            raise StoreCorruptError(
                f"{tree.path} belongs to member {identity[1]:x} of cluster {identity[0]:x}, "
                f"not to member {member_id:x} of cluster {cluster_id:x}: "
                "point the member at its own directory, or remove this one"
            )
        self.flushed_keys = tree.get_meta(b"keys")
        self.flushed_index, self.flushed_term = applied
        self.flushed_revision, self.flushed_compact_revision = revisions
        undo_above(tree, self.flushed_revision)
        self.compact_position, finished = compaction
        self.compacted_revision = finished if finished else -1
        return 0

    cdef int write_identity(self, uint64_t cluster_id, uint64_t member_id) except -1:
        cdef int status
        add_side_row(&self.side_rows, SIDE_META, b"format", FORMAT)
        identity = struct.pack("<QQ", cluster_id, member_id)
        add_side_row(&self.side_rows, SIDE_META, b"identity", identity)
        status = write_table(self.view.tree, self.view.active, &self.side_rows)
        self.side_rows.size = 0
        check_status(status, "initialise the state")
        return self.view.tree.renew()

    cdef bint running(self) except -1:
        return self.job is not None and not self.job.done()

    cdef bint idle(self) except -1:
        if self.job is None:
            return True
        if not self.job.done():
            return False
        self.take_over()
        return True

    cdef int wait(self) except -1:
        if self.job is not None:
            self.hurry = True
            self.job.exception()
            self.take_over()
        return 0

    cdef int allow_reader(self) except -1:
        return 0 if self.view.tree.can_open_reader() else self.wait()

    cdef int freeze(
        self, uint64_t index, uint64_t term, int64_t revision, int64_t compact_revision,
        int64_t keys, dict leases, dict rows,
    ) except -1:
        assert self.view.frozen is None
        self.side_rows.size = 0
        for lease, ttl in leases.items():
            value = None if ttl is None else struct.pack("<q", ttl)
            add_side_row(&self.side_rows, SIDE_LEASES, struct.pack(">q", lease), value)
        for key, value in rows.items():
            add_side_row(&self.side_rows, SIDE_META, RECORD_PREFIX + key, value)
        add_side_row(&self.side_rows, SIDE_META, b"applied", struct.pack("<QQ", index, term))
        add_side_row(&self.side_rows, SIDE_META, b"keys", struct.pack("<q", keys))
        revisions = struct.pack("<qq", revision, compact_revision)
        add_side_row(&self.side_rows, SIDE_META, b"revision", revisions)
        self.frozen_index = index
        self.frozen_revision = revision
        self.frozen_compact_revision = compact_revision
        self.view.frozen = self.view.active
        self.view.active = MemTable()
        return 0

    cdef int install(self, str file, uint64_t cluster_id, uint64_t member_id) except -1:
        self.wait()
        self.view.frozen = None
        self.view.active = MemTable()
        try:
            self.view.tree.replace(file)
            return self.load(cluster_id, member_id)
        except StoreIOError as failure:
            self.failure = failure
            raise

    cdef int start_flush(self) except -1:
        self.compacting = self.hurry = False
        self.view.tree.begin_steps()
        self.job = self.pool.submit(self.write_frozen)
        return 0

    cdef int flush_now(self) except -1:
        self.compacting = False
        self.hurry = True
        self.write_frozen()
        return self.take_over()

    cdef int start_compaction(self) except -1:
        self.compacting = True
        self.job = self.pool.submit(self.compact_records, COMPACT_RECORDS_MAX)
        return 0

    cdef int compact_now(self, int64_t records_max) except -1:
        self.compacting = True
        self.compact_records(records_max)
        return self.take_over()

    cdef int check_written(self, int status, str doing) except -1:
        """Raise for an LMDB status, and keep it: the store does nothing more."""
        try:
            return check_status(status, doing)
        except StoreIOError as failure:
            self.failure = failure
            raise

    def write_frozen(self) -> None:
        """Write the frozen table. Runs in the thread, step by step unless somebody waits."""
        cdef StateTree tree = self.view.tree
        cdef MemTable table = self.view.frozen
        cdef MemTable above = self.view.active
        cdef Buffer *side_rows = &self.side_rows
        cdef TableWrite at
        cdef int64_t began
        cdef int status = 0
        with nogil:
            begin_table(table, &at)
            while status == 0 and not at.finished:
                began = now_ns()
                status = write_some(tree, table, side_rows, &at)
                if not at.finished and not self.hurry and in_time(&at, table, above):
                    rest(now_ns() - began)
        self.check_written(status, f"flush to {tree.path}")

    def compact_records(self, int64_t records_max) -> None:
        """Work off a part of the compaction that is on disk. Runs in the thread."""
        cdef StateTree tree = self.view.tree
        cdef CompactionStep step
        cdef int status
        step.target = self.flushed_compact_revision
        step.position = self.compact_position
        step.records_max = records_max
        step.finished = False
        with nogil:
            status = compact_some(tree, &step)
        self.check_written(status, f"compact {tree.path}")
        self.compact_position = step.position
        if step.finished:
            self.compacted_revision = step.target

    cdef int take_over(self) except -1:
        """Take what was written into the snapshot; raise what the thread raised."""
        job = self.job
        self.job = None
        if job is not None:
            try:
                job.result()
            except OSError as failure:
                # Whoever looked first has it; nobody after may go on with half a flush.
                self.failure = failure
                raise
        self.view.tree.renew()
        self.view.tree.end_steps()
        if not self.compacting:
            self.flushed_index = self.frozen_index
            self.flushed_revision = self.frozen_revision
            self.flushed_compact_revision = self.frozen_compact_revision
            self.view.frozen = None
        return 0
