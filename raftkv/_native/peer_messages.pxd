# The body of a frame with Raft messages: a u32 count, then each message, little-endian and packed:
#
#     a Head; where flagged, a SnapshotHead and the encoded configuration;
#     then `entry_count` times an EntryHead and the entry's data.
#
# Entries are contiguous and follow the message's `index`, so their indexes are not sent.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    COUNT_BYTES = 4
    HEAD_BYTES = 70
    SNAPSHOT_BYTES = 20
    ENTRY_BYTES = 17
    FLAG_REJECT = 1
    FLAG_FORCE = 2
    FLAG_SNAPSHOT = 4
    FLAGS_KNOWN = 7

cdef extern from "stdint.h":
    uint64_t UINT64_MAX_ "UINT64_MAX"

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
