"""One write of the log: a frame in a segment, whole or not there.

A frame begins at a multiple of 8 and holds, little-endian, a head of 72 bytes:

     0  u32 crc32 of the frame's offset (u64), the rest of the head, and the head of each record
     4  u32 bytes of the frame, without what pads it to a multiple of 8
     8  u64 generation of the segment
    16  u32 count of records        20  u32 flags
    24  u64 index of the first record
    32  u64 term, vote and commit: the hard state as of this frame
    56  u64 base index and term as of this frame

and then each record: a head of 24 bytes (u64 term, u32 bytes of data, u32 the entry's own checksum,
u8 kind, 7 zeros) and the data. What an earlier life of the file left behind has another generation;
what was torn off has a wrong checksum.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    FRAME_HEAD_BYTES = 72
    RECORD_HEAD_BYTES = 24
    FRAME_RESET = 1                # entries before this frame are void; the log begins at its base
    FRAME_CLOSE = 2                # ends a life: what is before it was synced

cdef struct Frame:
    uint64_t generation
    uint64_t first_index
    uint64_t term
    uint64_t vote
    uint64_t commit
    uint64_t base_index
    uint64_t base_term
    uint32_t size                  # bytes, without padding
    uint32_t count                 # records
    uint32_t flags

cdef struct RecordHead:
    uint64_t term
    uint64_t offset                # of this head in the segment
    uint32_t size                  # bytes of data
    uint32_t checksum              # the entry's own
    uint8_t kind

cdef inline uint64_t padded(uint64_t size) noexcept nogil:
    return (size + 7) & ~<uint64_t>7

cdef inline void put_u32(uint8_t *out, uint32_t value) noexcept nogil:
    cdef int i
    for i in range(4):
        out[i] = <uint8_t>(value >> (8 * i))

cdef inline void put_u64(uint8_t *out, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(8):
        out[i] = <uint8_t>(value >> (8 * i))

cdef inline uint32_t get_u32(const uint8_t *data) noexcept nogil:
    cdef uint32_t value = 0
    cdef int i
    for i in range(4):
        value |= <uint32_t>data[i] << (8 * i)
    return value

cdef inline uint64_t get_u64(const uint8_t *data) noexcept nogil:
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value |= <uint64_t>data[i] << (8 * i)
    return value

# crc32 of `size` bytes, going on from `start`.
cdef uint32_t checksum(const uint8_t *data, size_t size, uint32_t start) except? 0

# `raftkv.raft.messages.entry_checksum` of an entry in memory.
cdef uint32_t entry_checksum(uint64_t index, uint64_t term, uint8_t kind, const uint8_t *data,
                             size_t size) except? 0

cdef void put_record_head(uint8_t *out, uint64_t term, uint32_t size, uint32_t own_checksum,
                          uint8_t kind) noexcept

# Write the head of a frame whose records are in their places behind it already.
cdef int seal_frame(uint8_t *out, const Frame *frame, uint64_t offset) except -1

cdef class FrameReader:
    """Walks over the frames of one segment."""
    cdef int fd                    # borrowed
    cdef uint64_t end              # bytes of the segment
    cdef uint64_t generation
    cdef uint8_t *window           # bytes of the file from window_offset on
    cdef size_t window_bytes
    cdef size_t window_capacity
    cdef uint64_t window_offset
    cdef Frame frame               # the one that `load` found
    cdef RecordHead *records       # of it
    cdef size_t records_capacity

    # The bytes [offset, offset + size), which are within the segment; good until the next call.
    # OSError where the disk fails, EOFError where the file is shorter than it says.
    cdef const uint8_t *at(self, uint64_t offset, size_t size) except NULL

    # Whether a valid frame is at `offset`; it is then in `frame` and `records`. Its data is
    # checked too if asked for.
    cdef bint load(self, uint64_t offset, bint with_data) except -1
    cdef bint load_records(self, uint64_t offset, uint32_t *sum) except -1
    cdef int reserve_records(self, size_t count) except -1
    cdef bint data_is_intact(self) except -1
    cdef int fill(self, size_t wanted) except -1

    # Whether the head at `offset` may be one of this generation. Cheap.
    cdef bint plausible(self, uint64_t offset) except -1

    # Where behind `offset` a valid frame begins; 0 if nowhere. Costs a pass over the segment.
    cdef uint64_t find_after(self, uint64_t offset) except? 0
