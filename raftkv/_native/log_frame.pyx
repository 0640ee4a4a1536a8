# cython: language_level=3
"""See `log_frame.pxd`."""

import os

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset
from posix.types cimport off_t
from zlib_ng import zlib_ng

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void *buffer, size_t size, off_t offset)

cdef object crc32 = zlib_ng.crc32

cdef enum:
    WINDOW_BYTES = 1 << 16


cdef uint32_t checksum(const uint8_t *data, size_t size, uint32_t start) except? 0:
    return crc32(PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ), start)


cdef uint32_t entry_checksum(uint64_t index, uint64_t term, uint8_t kind, const uint8_t *data,
                             size_t size) except? 0:
    cdef uint8_t head[17]
    cdef int i
    for i in range(8):
        head[i] = <uint8_t>(index >> (56 - 8 * i))
    put_u64(head + 8, term)
    head[16] = kind
    return checksum(data, size, checksum(head, 17, 0))


cdef void put_record_head(uint8_t *out, uint64_t term, uint32_t size, uint32_t own_checksum,
                          uint8_t kind) noexcept:
    put_u64(out, term)
    put_u32(out + 8, size)
    put_u32(out + 12, own_checksum)
    memset(out + 16, 0, 8)
    out[16] = kind


cdef uint32_t head_checksum(const uint8_t *head, uint64_t offset) except? 0:
    cdef uint8_t place[8]
    put_u64(place, offset)
    return checksum(head + 4, FRAME_HEAD_BYTES - 4, checksum(place, 8, 0))


cdef int seal_frame(uint8_t *out, const Frame *frame, uint64_t offset) except -1:
    cdef uint8_t *record = out + FRAME_HEAD_BYTES
    cdef uint32_t sum
    cdef uint32_t i
    put_u32(out + 4, frame.size)
    put_u64(out + 8, frame.generation)
    put_u32(out + 16, frame.count)
    put_u32(out + 20, frame.flags)
    put_u64(out + 24, frame.first_index)
    put_u64(out + 32, frame.term)
    put_u64(out + 40, frame.vote)
    put_u64(out + 48, frame.commit)
    put_u64(out + 56, frame.base_index)
    put_u64(out + 64, frame.base_term)
    sum = head_checksum(out, offset)
    for i in range(frame.count):
        sum = checksum(record, RECORD_HEAD_BYTES, sum)
        record += RECORD_HEAD_BYTES + get_u32(record + 8)
    put_u32(out, sum)
    return 0


cdef class FrameReader:
    """See `log_frame.pxd`."""

    def __init__(self, int fd, uint64_t end, uint64_t generation):
        self.fd = fd
        self.end = end
        self.generation = generation

    def __dealloc__(self):
        free(self.window)
        free(self.records)

    cdef const uint8_t *at(self, uint64_t offset, size_t size) except NULL:
        cdef size_t wanted
        cdef void *grown
        if (offset >= self.window_offset
                and offset + size <= self.window_offset + self.window_bytes):
            return self.window + (offset - self.window_offset)
        wanted = max(size, <size_t>min(<uint64_t>WINDOW_BYTES, self.end - offset))
        if wanted > self.window_capacity:
            grown = realloc(self.window, wanted)
            if grown == NULL:
                raise MemoryError
            self.window = <uint8_t *>grown
            self.window_capacity = wanted
        self.window_offset = offset
        self.window_bytes = 0
        self.fill(wanted)
        if self.window_bytes < size:
            raise EOFError("the file was cut off")
        return self.window

    cdef int fill(self, size_t wanted) except -1:
        cdef ssize_t found
        while self.window_bytes < wanted:
            found = pread(self.fd, self.window + self.window_bytes, wanted - self.window_bytes,
                          <off_t>(self.window_offset + self.window_bytes))
            if found < 0:
                if errno == EINTR:
                    continue
                raise OSError(errno, os.strerror(errno))
            if found == 0:
                return 0
            self.window_bytes += found
        return 0

    cdef bint plausible(self, uint64_t offset) except -1:
        cdef const uint8_t *head
        cdef uint32_t size
        if offset + FRAME_HEAD_BYTES > self.end:
            return False
        head = self.at(offset, FRAME_HEAD_BYTES)
        size = get_u32(head + 4)
        return (
            get_u64(head + 8) == self.generation
            and FRAME_HEAD_BYTES <= size <= self.end - offset
            and get_u32(head + 16) <= (size - FRAME_HEAD_BYTES) // RECORD_HEAD_BYTES
        )

    cdef bint load(self, uint64_t offset, bint with_data) except -1:
        cdef const uint8_t *head
        cdef uint32_t stored
        cdef uint32_t sum
        if not self.plausible(offset):
            return False
        head = self.at(offset, FRAME_HEAD_BYTES)
        stored = get_u32(head)
        self.frame.size = get_u32(head + 4)
        self.frame.generation = self.generation
        self.frame.count = get_u32(head + 16)
        self.frame.flags = get_u32(head + 20)
        self.frame.first_index = get_u64(head + 24)
        self.frame.term = get_u64(head + 32)
        self.frame.vote = get_u64(head + 40)
        self.frame.commit = get_u64(head + 48)
        self.frame.base_index = get_u64(head + 56)
        self.frame.base_term = get_u64(head + 64)
        sum = head_checksum(head, offset)
        if not self.load_records(offset, &sum) or sum != stored:
            return False
        return not with_data or self.data_is_intact()

    cdef bint load_records(self, uint64_t offset, uint32_t *sum) except -1:
        """Read the heads of the records and go on with the checksum; False if they do not fit."""
        cdef uint64_t place = offset + FRAME_HEAD_BYTES
        cdef uint64_t end = offset + self.frame.size
        cdef const uint8_t *raw
        cdef RecordHead *record
        cdef uint32_t i
        self.reserve_records(self.frame.count)
        for i in range(self.frame.count):
            if end - place < RECORD_HEAD_BYTES:
                return False
            raw = self.at(place, RECORD_HEAD_BYTES)
            record = self.records + i
            record.term = get_u64(raw)
            record.size = get_u32(raw + 8)
            record.checksum = get_u32(raw + 12)
            record.kind = raw[16]
            record.offset = place
            sum[0] = checksum(raw, RECORD_HEAD_BYTES, sum[0])
            place += RECORD_HEAD_BYTES
            if record.size > end - place:
                return False
            place += record.size
        return place == end

    cdef int reserve_records(self, size_t count) except -1:
        cdef void *grown
        if count > self.records_capacity:
            grown = realloc(self.records, count * sizeof(RecordHead))
            if grown == NULL:
                raise MemoryError
            self.records = <RecordHead *>grown
            self.records_capacity = count
        return 0

    cdef bint data_is_intact(self) except -1:
        cdef RecordHead *record
        cdef const uint8_t *data
        cdef uint32_t i
        for i in range(self.frame.count):
            record = self.records + i
            data = self.at(record.offset, RECORD_HEAD_BYTES + record.size) + RECORD_HEAD_BYTES
            if record.checksum != entry_checksum(
                    self.frame.first_index + i, record.term, record.kind, data, record.size):
                return False
        return True

    cdef uint64_t find_after(self, uint64_t offset) except? 0:
        cdef uint64_t place = offset + 8
        while place + FRAME_HEAD_BYTES <= self.end:
            if self.plausible(place) and self.load(place, False):
                return place
            place += 8
        return 0
