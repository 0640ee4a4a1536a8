# The body of a frame with Raft messages: a u32 count, then each message, little-endian and packed:
#
#     a Head; where flagged, a SnapshotHead and the encoded configuration;
#     then `entry_count` times an EntryHead and the entry's data.
#
# Terms and indexes are below 2^63. Entries are contiguous and follow the message's `index`, so
# their indexes are not sent.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    LENGTH_BYTES = 4          # of a frame: its head is the length of what follows, then a
    CHECKSUM_BYTES = 4        # checksum of type and body, then the type
    CHECKED_AT = 8
    FRAME_HEAD_BYTES = 9
    MESSAGES_FRAME = 3        # FrameType.MESSAGES
    SHORT_FRAME_BYTES_MAX = 16384
    COUNT_BYTES = 4
    HEAD_BYTES = 70
    SNAPSHOT_BYTES = 20
    ENTRY_BYTES = 17
    FLAG_REJECT = 1
    FLAG_FORCE = 2
    FLAG_SNAPSHOT = 4
    FLAGS_KNOWN = 7

cdef extern from *:
    """
    #include <stdint.h>
    #define NUMBER_MAX ((uint64_t) INT64_MAX / 2)
    """
    uint64_t NUMBER_MAX       # of terms and indexes; the core counts on from them in 63 bits

cdef packed struct Head:
    uint8_t type              # a MessageType
    uint8_t flags
    uint32_t entry_count
    uint64_t to
    uint64_t sender
    uint64_t term
    uint64_t log_term
    uint64_t index
    uint64_t commit
    uint64_t reject_hint
    uint64_t context

cdef packed struct SnapshotHead:
    uint64_t index
    uint64_t term
    uint32_t size             # of the configuration

cdef packed struct EntryHead:
    uint64_t term
    uint32_t checksum         # `entry_checksum`
    uint32_t size             # of the data
    uint8_t kind              # an EntryKind
