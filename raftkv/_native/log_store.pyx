# cython: language_level=3
"""The Raft log in segments: files that are written once from beginning to end, and then recycled.

A write is one frame (`log_frame.pxd`): one synced write (`log_tail.pxd`) over blocks that hold
something already, so that the sync concerns no metadata. Every frame repeats hard state and base.
The log is what its frames say in their order; where each entry is, is kept in memory. What was
never synced can only be the last frame: it is there as a whole or ignored. An invalid frame with a
valid one behind it is no power cut but damage, and refused.

One thread writes at a time and one thread reads at a time; they may be different ones. Writes
release the GIL; all that a reader sees changes under it, after the sync.

Known weakness: damage to the very last frame of a member that was killed is taken for a write that
was torn. After an orderly stop it is noticed: `close` puts a frame of its own behind it.
"""

import os
import secrets

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from raftkv._native.log_frame cimport (
    FRAME_CLOSE,
    FRAME_HEAD_BYTES,
    FRAME_RESET,
    RECORD_HEAD_BYTES,
    Frame,
    FrameReader,
    entry_checksum,
    get_u32,
    get_u64,
    padded,
    put_record_head,
    seal_frame,
)
from raftkv._native.log_index cimport LogIndex, Place
from raftkv._native.log_tail cimport LogTail

from raftkv.raft.errors import LogCompacted, LogUnavailable
from raftkv.raft.messages import Entry, EntryKind, HardState
from raftkv.storage.errors import CorruptLogError, LogIOError, StorageError, error_of
from raftkv.storage.log_directory import LogDirectory
from raftkv.storage.log_segment import HEADER_BYTES, SegmentHeader

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

SEGMENT_BYTES_DEFAULT = 16 << 20

cdef enum:
    SEGMENT_BYTES_FIRST = 1 << 20      # so that a small cluster starts at once and stays small
    READ_AHEAD_BYTES = 1 << 20

cdef object KINDS = {int(kind): kind for kind in EntryKind}


cdef class LogStore:
    """See `log_store.pyi` for the contract."""

    def __cinit__(self):
        self.read_fd = -1
        self.tail = LogTail()

    def __init__(self, str path, uint64_t segment_bytes=SEGMENT_BYTES_DEFAULT):
        if self.directory is not None:
            raise ValueError("the log is open already")
        self.path = path
        self.segment_bytes = segment_bytes
        self.index = LogIndex()
        memset(&self.state, 0, sizeof(Frame))
        if os.path.exists(os.path.join(path, "data.mdb")):
            raise StorageError(
                f"{path} holds a log in LMDB, of an older raftkv, which this one does not read: "
                "start that version, or remove this member's data directory and add it again")
        try:
            self.directory = LogDirectory(path, segment_bytes)
            metadata = self.directory.read_metadata()
            self.metadata = metadata or {}
            if self.directory.sequences():
                self.open_segments()
            elif metadata is None:
                self.directory.sync_own_name()
                self.begin_segment(0)
            else:
                raise CorruptLogError(0, f"the segments are gone from {path}")
        except OSError as error:
            self.abandon()
            raise error_of(f"open the log in {path}", error) from error
        except ValueError as error:
            self.abandon()
            raise CorruptLogError(0, f"{path}: {error}") from error
        except BaseException:
            self.abandon()
            raise

    def __dealloc__(self):
        if self.read_fd >= 0:
            close(self.read_fd)

    cdef int check_open(self) except -1:
        if self.directory is None:
            raise ValueError("the log is closed")
        return 0

    cdef int check_writable(self) except -1:
        """After a failed write the disk is not known any more: a later one must not seem well."""
        self.check_open()
        if self.failure is not None:
            raise LogIOError("write to the log", 0, f"it has failed: {self.failure}")
        if self.begun_at != NULL:
            raise ValueError("a write to the log is under way")
        return 0

    cdef int check_written(self, str operation, int code) except -1:
        return self.fail_with(operation, OSError(code, os.strerror(code))) if code else 0

    cdef int fail_with(self, str operation, object error) except -1:
        self.failure = error_of(operation, error)
        raise self.failure from error

    # --- opening ---------------------------------------------------------------------------------

    cdef int open_segments(self) except -1:
        """Read what is there, from the oldest segment that fits to the newest."""
        cdef uint64_t sequence
        sequences = self.directory.sequences()
        cdef uint64_t newest = max(sequences)
        headers = {newest: self.read_header(newest)}
        # Older files that do not fit were let go, and their names came back after a power cut.
        for sequence in range(newest - 1, 0, -1):
            if sequence not in sequences:
                break
            try:
                headers[sequence] = self.read_header(sequence)
            except CorruptLogError:
                break
        self.oldest = min(headers)
        first = headers[self.oldest]
        self.last = first.last_index
        self.state.base_index, self.state.base_term = first.base_index, first.base_term
        self.state.term, self.state.vote, self.state.commit = first.term, first.vote, first.commit
        self.index.truncate_from(first.last_index + 1)
        self.index.first = first.last_index + 1
        for sequence in range(self.oldest, newest + 1):
            self.sequence = sequence
            self.capacity = headers[sequence].capacity_bytes
            self.state.generation = headers[sequence].generation
            self.replay(sequence, sequence == newest, headers.get(sequence + 1))
        if self.last < self.state.base_index:
            raise CorruptLogError(self.last + 1, f"the base, {self.state.base_index}, is above it")
        if self.last > self.state.base_index and self.index.first > self.state.base_index + 1:
            raise CorruptLogError(self.state.base_index + 1, "its segment is missing")
        self.index.drop_to(self.state.base_index)
        self.directory.sync()
        for sequence in sequences:
            if sequence < self.oldest:
                os.unlink(self.directory.segment_path(sequence))
        self.drop_segments()
        return 0

    def read_header(self, uint64_t sequence):
        """Return a segment's header. Raises CorruptLogError."""
        file = self.directory.segment_path(sequence)
        try:
            with open(file, "rb") as opened:
                header = SegmentHeader.decode(opened.read(HEADER_BYTES))
        except ValueError as error:
            raise CorruptLogError(0, f"{file}: {error}") from error
        if header.sequence != sequence:
            raise CorruptLogError(0, f"{file} is segment {header.sequence}")
        missing = header.capacity_bytes - file.stat().st_size
        if missing > 0:
            raise CorruptLogError(0, f"{file} was cut off by {missing} bytes")
        return header

    cdef int replay(self, uint64_t sequence, bint is_last, object following) except -1:
        """Take in a segment's frames; the newest one stays open and is made durable once more.

        Data in older segments is checked when it is read.
        """
        cdef int fd = os.open(self.directory.segment_path(sequence), os.O_RDONLY | os.O_CLOEXEC)
        cdef FrameReader reader = FrameReader(fd, self.capacity, self.state.generation)
        cdef uint64_t place = HEADER_BYTES
        cdef uint64_t before = 0
        cdef uint64_t later
        cdef uint32_t i
        try:
            while reader.load(place, is_last):
                self.note(&reader.frame)
                self.index.reserve(reader.frame.count)
                for i in range(reader.frame.count):
                    if reader.records[i].term >> 63:
                        raise CorruptLogError(self.last + 1, "a term that no log can reach")
                    self.index.push(reader.records[i].term, sequence, reader.records[i].offset)
                before = place
                place += padded(reader.frame.size)
            if not is_last:
                if (place != following.previous_end or self.last != following.last_index
                        or self.state.base_index != following.base_index):
                    raise CorruptLogError(
                        self.last + 1, f"the frame at {place} of segment {sequence} is damaged")
                return 0
            later = reader.find_after(place)
            if later:
                raise CorruptLogError(
                    self.last + 1,
                    f"the frame at {place} of segment {sequence} is damaged, a later one is not")
            self.go_on(reader, before, place)
        except EOFError as error:
            raise CorruptLogError(self.last + 1, f"segment {sequence}: {error}") from error
        finally:
            os.close(fd)
        return 0

    cdef int note(self, const Frame *frame) except -1:
        """Let a frame that is durable count; the caller puts its records into the index."""
        if (frame.first_index | (frame.first_index + frame.count) | frame.base_index
                | frame.base_term | frame.term | frame.commit) >> 63:
            raise CorruptLogError(self.last + 1, "an index or a term that no log can reach")
        if frame.flags & FRAME_RESET:
            self.index.truncate_from(0)
            self.index.first = frame.base_index + 1
            self.last = frame.base_index
        elif frame.count:
            if frame.first_index > self.last + 1:
                raise CorruptLogError(self.last + 1, "the record is missing")
            self.index.truncate_from(frame.first_index)
            self.last = frame.first_index + frame.count - 1
        self.state.term, self.state.vote = frame.term, frame.vote
        self.state.commit = frame.commit
        self.state.base_index, self.state.base_term = frame.base_index, frame.base_term
        self.is_closed_properly = (frame.flags & FRAME_CLOSE) != 0
        return 0

    cdef int go_on(self, FrameReader reader, uint64_t last, uint64_t end) except -1:
        """Write on at `end`, behind the frame at `last` (0: none).

        That frame is made durable: whoever wrote it may not have lived to see it synced. A sync
        alone would not do where one has failed: the system may take for clean what it could not
        write.
        """
        cdef size_t size = padded(get_u32(reader.at(last, FRAME_HEAD_BYTES) + 4)) if last else 0
        cdef const uint8_t *frame = reader.at(last, size) if last else NULL
        cdef int code
        self.tail.begin(self.directory.segment_path(self.sequence), last or end, self.capacity)
        if last:
            memcpy(self.tail.reserve(size), frame, size)
            with nogil:
                code = self.tail.write(size)
            if code:
                raise OSError(code, os.strerror(code))
            self.tail.advance(size)
        return 0

    # --- reading ---------------------------------------------------------------------------------

    @property
    def first_index(self):
        return self.state.base_index + 1

    @property
    def last_index(self):
        return self.last

    @property
    def size_bytes(self):
        self.check_open()
        return self.directory.size_bytes()

    @property
    def wants_spare(self):
        """Whether `make_spare` would be of use now."""
        return (self.directory is not None and self.failure is None
                and self.tail.position > self.capacity // 2
                and 2 * self.capacity >= self.segment_bytes and not self.directory.spare_count)

    def make_spare(self):
        if self.directory is not None:
            try:
                self.directory.make_spare()
            except OSError as error:
                raise error_of("make room for the log", error) from error

    cdef uint64_t last_term(self) except? 0:
        return self.term(self.last)

    def term(self, uint64_t index):
        cdef const Place *place
        if index < self.state.base_index:
            raise LogCompacted(index, self.state.base_index + 1)
        if index > self.last:
            raise LogUnavailable(index, self.last)
        if index == self.state.base_index:
            return self.state.base_term
        place = self.index.find(index)
        if place == NULL:
            raise CorruptLogError(index, "the record is missing")
        return place.term

    def entries(self, uint64_t lo, uint64_t hi, Py_ssize_t bytes_max):
        cdef const Place *place
        cdef uint64_t index
        cdef Py_ssize_t size = 0
        cdef list found = []
        cdef list window = [0, 0, b""]
        self.check_open()
        if lo <= self.state.base_index:
            raise LogCompacted(lo, self.state.base_index + 1)
        if hi > self.last + 1:
            raise LogUnavailable(hi - 1, self.last)
        for index in range(lo, hi):
            place = self.index.find(index)
            try:
                if place == NULL:
                    raise CorruptLogError(index, "the record is missing")
                entry = self.read_entry(index, place, window, bytes_max - size)
            except (OSError, StorageError) as error:
                if index <= self.state.base_index:      # cut meanwhile by the writer
                    raise LogCompacted(index, self.state.base_index + 1) from error
                if isinstance(error, OSError):
                    raise error_of("read entries", error) from error
                raise
            size += RECORD_HEAD_BYTES + PyBytes_GET_SIZE(entry.data)
            if size > bytes_max and found:
                break
            found.append(entry)
        return found

    cdef object read_entry(self, uint64_t index, const Place *place, list window, Py_ssize_t ahead):
        """Return an entry, checked. `window`: segment, offset and bytes of it that were read."""
        cdef uint64_t term = place.term
        cdef uint32_t sequence = place.sequence
        cdef uint64_t offset = place.offset
        cdef bytes raw = self.read_bytes(window, sequence, offset, RECORD_HEAD_BYTES, ahead)
        cdef const uint8_t *head = <const uint8_t *>PyBytes_AS_STRING(raw)
        cdef uint32_t size = get_u32(head + 8)
        cdef uint32_t stored = get_u32(head + 12)
        cdef uint8_t kind = head[16]
        cdef bytes data
        if get_u64(head) != term:
            raise CorruptLogError(index, "the record is of another term")
        data = self.read_bytes(window, sequence, offset + RECORD_HEAD_BYTES, size, ahead)
        if entry_checksum(index, term, kind, <const uint8_t *>PyBytes_AS_STRING(data),
                          size) != stored:
            raise CorruptLogError(index, "the record does not match its checksum")
        if kind not in KINDS:
            raise CorruptLogError(index, f"unknown kind {kind}")
        return Entry(term, index, KINDS[kind], data, stored)

    def read_bytes(self, list window, uint32_t sequence, uint64_t offset, size_t size,
                   Py_ssize_t ahead):
        """Return bytes of a segment, reading more than that where more will be asked for."""
        cdef Py_ssize_t wanted
        cdef Py_ssize_t at
        if window[0] != sequence or not (
                window[1] <= offset and offset + size <= window[1] + len(window[2])):
            wanted = max(<Py_ssize_t>size, min(ahead + RECORD_HEAD_BYTES, READ_AHEAD_BYTES))
            window[2] = os.pread(self.descriptor_of(sequence), wanted, offset)
            window[0] = sequence
            window[1] = offset
            if len(window[2]) < size:
                raise CorruptLogError(0, f"segment {sequence} was cut off")
        at = offset - window[1]
        return window[2][at:at + size]

    cdef int descriptor_of(self, uint32_t sequence) except -1:
        """Return a descriptor to read a segment by; good until another one is asked for.

        It is the reader's own: the writer may close or drop the segment at any moment.
        """
        cdef uint64_t whole = self.sequence - <uint32_t>(<uint32_t>self.sequence - sequence)
        if self.read_fd < 0 or self.read_sequence != whole:
            self.close_read_fd()
            self.read_fd = os.open(self.directory.segment_path(whole), os.O_RDONLY | os.O_CLOEXEC)
            self.read_sequence = whole
        return self.read_fd

    def close_read_fd(self):
        if self.read_fd >= 0:
            os.close(self.read_fd)
            self.read_fd = -1

    def hard_state(self):
        self.check_open()
        return HardState(self.state.term, self.state.vote, self.state.commit)

    # --- writing ---------------------------------------------------------------------------------

    cdef uint8_t *reserve(self, uint64_t size) except NULL:
        """Return where to put a frame of `size` bytes together, in a segment with the room."""
        if size > <uint64_t>0xFFFFFFFF - HEADER_BYTES - FRAME_HEAD_BYTES:
            raise ValueError("a write to the log has less than 4 GiB")
        # Room for one more frame without records stays, so that `close` finds it.
        if self.tail.position + size + FRAME_HEAD_BYTES > self.capacity:
            self.begin_segment(HEADER_BYTES + size + FRAME_HEAD_BYTES)
        return self.tail.reserve(size)

    cdef int begin_segment(self, uint64_t needed) except -1:
        """Go on in a new segment of at least `needed` bytes."""
        cdef uint64_t size = min(2 * self.capacity or SEGMENT_BYTES_FIRST, self.segment_bytes)
        cdef uint64_t generation = secrets.randbits(63) + 1
        if needed > size:
            size = max((needed + 4095) & ~<uint64_t>4095, size)
        header = SegmentHeader(
            sequence=self.sequence + 1,
            generation=generation,
            capacity_bytes=size,
            previous_end=self.tail.position,
            base_index=self.state.base_index,
            base_term=self.state.base_term,
            last_index=self.last,
            last_term=self.last_term(),
            term=self.state.term,
            vote=self.state.vote,
            commit=self.state.commit,
        )
        self.directory.begin_segment(header.sequence, header.encode(), size)
        self.tail.begin(self.directory.segment_path(header.sequence), HEADER_BYTES, size)
        self.sequence += 1
        self.oldest = self.oldest or 1
        self.capacity = size
        self.state.generation = generation
        return 0

    cdef int write(self, str operation, uint8_t *frame_at, Frame *frame) except -1:
        """Write the frame whose records are in the reserved bytes; on success, let it count."""
        cdef int code
        self.seal(frame_at, frame)
        with nogil:
            code = self.tail.write(padded(frame.size))
        self.check_written(operation, code)
        return self.take_in(frame_at, frame)

    cdef int seal(self, uint8_t *frame_at, Frame *frame) except -1:
        """Make the reserved bytes a frame, and room in the index for what is in it."""
        self.index.reserve(frame.count)
        frame.generation = self.state.generation
        memset(frame_at + frame.size, 0, padded(frame.size) - frame.size)
        seal_frame(frame_at, frame, self.tail.position)
        return 0

    cdef int take_in(self, const uint8_t *frame_at, const Frame *frame) except -1:
        """Let a frame that is synced count."""
        cdef uint64_t offset = self.tail.position + FRAME_HEAD_BYTES
        cdef const uint8_t *record = frame_at + FRAME_HEAD_BYTES
        cdef uint32_t i
        self.note(frame)
        for i in range(frame.count):
            self.index.push(get_u64(record), self.sequence, offset)
            offset += RECORD_HEAD_BYTES + get_u32(record + 8)
            record += RECORD_HEAD_BYTES + get_u32(record + 8)
        self.tail.advance(padded(frame.size))
        return 0

    def append(self, entries, hard_state=None):
        cdef Frame frame
        cdef uint8_t *frame_at = self.put_together(entries, hard_state, &frame)
        self.write("append to the log", frame_at, &frame)

    def begin_append(self, entries, hard_state=None):
        cdef uint8_t *frame_at = self.put_together(entries, hard_state, &self.begun)
        self.seal(frame_at, &self.begun)
        self.begun_at = frame_at
        with nogil:
            self.tail.start(padded(self.begun.size))

    def end_append(self):
        cdef const uint8_t *frame_at = self.begun_at
        cdef int code
        self.check_open()
        if frame_at == NULL:
            raise ValueError("nothing was begun")
        self.begun_at = NULL
        with nogil:
            code = self.tail.finish()
        self.check_written("append to the log", code)
        self.take_in(frame_at, &self.begun)

    cdef uint8_t *put_together(self, object entries, object hard_state, Frame *to) except NULL:
        """Check what is to be appended, and copy it into reserved bytes, but for the head."""
        cdef Frame frame = self.state
        cdef uint64_t size = FRAME_HEAD_BYTES
        cdef uint8_t *frame_at = NULL
        cdef uint8_t *out
        cdef bytes data
        cdef Py_ssize_t i
        self.check_writable()
        frame.count = len(entries)
        frame.flags = 0
        frame.first_index = entries[0].index if frame.count else 0
        if frame.count and not self.state.base_index < frame.first_index <= self.last + 1:
            raise ValueError(f"entry {frame.first_index} does not follow {self.last}")
        for i, entry in enumerate(entries):
            if entry.index != frame.first_index + i:
                raise ValueError(f"entry {entry.index} is out of order")
            if entry.term >> 63:
                raise ValueError(f"no log can reach term {entry.term}")
            size += RECORD_HEAD_BYTES + len(entry.data)
        if hard_state is not None:
            if (hard_state.term | hard_state.commit) >> 63:
                raise ValueError(f"no log can reach {hard_state}")
            frame.term, frame.vote = hard_state.term, hard_state.vote
            frame.commit = hard_state.commit
        try:
            frame_at = self.reserve(padded(size))
        except OSError as error:
            self.fail_with("append to the log", error)
        out = frame_at + FRAME_HEAD_BYTES
        for entry in entries:
            data = entry.data
            put_record_head(out, entry.term, PyBytes_GET_SIZE(data), entry.checksum, entry.kind)
            memcpy(out + RECORD_HEAD_BYTES, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            out += RECORD_HEAD_BYTES + PyBytes_GET_SIZE(data)
        frame.size = <uint32_t>size
        to[0] = frame
        return frame_at

    cdef int write_state(self, str operation, uint64_t base_index, uint64_t base_term,
                         object hard_state, uint32_t flags) except -1:
        """Write a frame without records."""
        cdef Frame frame = self.state
        frame.count = 0
        frame.first_index = 0
        frame.size = FRAME_HEAD_BYTES
        frame.flags = flags
        frame.base_index = base_index
        frame.base_term = base_term
        if hard_state is not None:
            frame.term, frame.vote = hard_state.term, hard_state.vote
            frame.commit = hard_state.commit
        try:
            self.write(operation, self.reserve(FRAME_HEAD_BYTES), &frame)
            if flags != FRAME_CLOSE:
                self.index.drop_to(base_index)
                self.drop_segments()
        except OSError as error:
            self.fail_with(operation, error)
        return 0

    def truncate_prefix(self, uint64_t index):
        self.check_writable()
        if index <= self.state.base_index:
            return
        if index > self.last:
            raise LogUnavailable(index, self.last)
        self.write_state("drop old entries", index, self.term(index), None, 0)

    def reset(self, uint64_t index, uint64_t term, hard_state=None):
        self.check_writable()
        self.write_state("reset the log", index, term, hard_state, FRAME_RESET)

    cdef int drop_segments(self) except -1:
        """Let go of the segments that hold nothing but dropped entries."""
        cdef const Place *place = self.index.find(self.state.base_index + 1)
        cdef uint64_t needed = self.sequence
        if place != NULL:
            needed = self.sequence - <uint32_t>(<uint32_t>self.sequence - place.sequence)
        while self.oldest < needed:
            self.directory.drop_segment(self.oldest)
            self.oldest += 1
        return 0

    # --- metadata --------------------------------------------------------------------------------

    def get_metadata(self, str name):
        self.check_open()
        return self.metadata.get(name)

    def put_metadata(self, items):
        self.check_writable()
        metadata = {**self.metadata, **items}
        try:
            self.directory.write_metadata(metadata)
        except OSError as error:
            self.fail_with("write metadata", error)
        self.metadata = metadata

    # --- closing ---------------------------------------------------------------------------------

    def close(self):
        if self.directory is None:
            return
        if (self.failure is None and self.begun_at == NULL and not self.is_closed_properly
                and self.tail.position > HEADER_BYTES):
            try:
                self.write_state("close the log", self.state.base_index, self.state.base_term,
                                 None, FRAME_CLOSE)
            except StorageError:
                pass                   # all that was promised is durable without it
        self.abandon()

    def abandon(self):
        """Close without a trace of it, as if the process had been killed. Idempotent."""
        self.directory = None
        self.begun_at = NULL
        self.close_read_fd()
        self.tail.close()
