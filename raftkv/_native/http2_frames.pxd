"""HTTP/2 frames (RFC 9113 §4 and §6): their numbers, and writing their heads."""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    FRAME_HEAD_BYTES = 9
    WINDOW_AT_FIRST = 65535
    WINDOW_MAX = 0x7FFFFFFF
    PEER_FRAME_BYTES_AT_FIRST = 16384
    PEER_FRAME_BYTES_MAX = 16777215

cdef enum FrameType:
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9

cdef enum FrameFlag:
    NO_FLAGS = 0
    END_STREAM = 0x1             # of DATA and HEADERS
    ACK = 0x1                    # of SETTINGS and PING
    END_HEADERS = 0x4
    PADDED = 0x8
    HAS_PRIORITY = 0x20

cdef enum Setting:
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    NO_RFC7540_PRIORITIES = 9

cdef enum ErrorCode:             # RFC 9113 §7
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


cdef inline uint32_t read_u24(const uint8_t *at) noexcept:
    return (<uint32_t>at[0] << 16) | (<uint32_t>at[1] << 8) | at[2]


cdef inline uint32_t read_u32(const uint8_t *at) noexcept:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline void write_u32(uint8_t *at, uint32_t number) noexcept:
    at[0] = number >> 24
    at[1] = (number >> 16) & 0xFF
    at[2] = (number >> 8) & 0xFF
    at[3] = number & 0xFF


# Write the FRAME_HEAD_BYTES before a payload of `length` < 2^24 bytes.
cdef inline void write_head(
    uint8_t *at, uint32_t length, uint8_t kind, uint8_t flags, uint32_t stream_id
) noexcept:
    at[0] = (length >> 16) & 0xFF
    at[1] = (length >> 8) & 0xFF
    at[2] = length & 0xFF
    at[3] = kind
    at[4] = flags
    write_u32(at + 5, stream_id)
