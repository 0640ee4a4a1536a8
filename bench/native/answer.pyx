"""What the load wants to know of an answer: a walk over protobuf fields, for trusted servers only
in so far as that a wrong length ends the walk with an error, never outside of the bytes."""

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from bench.native.histogram cimport buckets_record

STAMP_MAGIC = b"\x01bench\x02\x03"
cdef const uint8_t *MAGIC = b"\x01bench\x02\x03"


cdef struct Field:
    int number
    int wire_type
    uint64_t value                 # of a varint
    const uint8_t *data            # of a length-delimited field
    size_t length


cdef inline int read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value) noexcept nogil:
    cdef int shift = 0
    cdef uint8_t byte
    value[0] = 0
    while at[0] < end and shift < 64:
        byte = at[0][0]
        at[0] += 1
        value[0] |= <uint64_t>(byte & 0x7F) << shift
        if not byte & 0x80:
            return 0
        shift += 7
    return -1


cdef inline int next_field(const uint8_t **at, const uint8_t *end, Field *field) noexcept nogil:
    """Read one field. Returns 1, 0 at the end, -1: not protobuf."""
    cdef uint64_t tag
    if at[0] >= end:
        return 0
    if read_varint(at, end, &tag):
        return -1
    field.number = <int>(tag >> 3)
    field.wire_type = <int>(tag & 7)
    if field.wire_type == 0:
        return -1 if read_varint(at, end, &field.value) else 1
    if field.wire_type == 1 or field.wire_type == 5:
        field.length = 8 if field.wire_type == 1 else 4
    elif field.wire_type != 2:
        return -1
    elif read_varint(at, end, &field.value):
        return -1
    else:
        field.length = <size_t>field.value
    if field.length > <size_t>(end - at[0]):
        return -1
    field.data = at[0]
    at[0] += field.length
    return 1


cdef int64_t varint_of(const uint8_t *data, size_t length, int number) noexcept nogil:
    """Return the last varint field of that number, 0 where there is none."""
    cdef const uint8_t *at = data
    cdef Field field
    cdef int64_t found = 0
    while next_field(&at, data + length, &field) > 0:
        if field.number == number and field.wire_type == 0:
            found = <int64_t>field.value
    return found


cdef const uint8_t *inner(const uint8_t *data, size_t length, int number,
                          size_t *inner_length) noexcept nogil:
    """Return the first embedded message of that number, NULL where there is none."""
    cdef const uint8_t *at = data
    cdef Field field
    while next_field(&at, data + length, &field) > 0:
        if field.number == number and field.wire_type == 2:
            inner_length[0] = field.length
            return field.data
    return NULL


cdef int read_unary(Answer *answer, const uint8_t *data, size_t length,
                    bint is_txn) noexcept nogil:
    """Read a PutResponse, RangeResponse or, with `is_txn`, TxnResponse. Cost: O(top fields)."""
    cdef const uint8_t *at = data
    cdef const uint8_t *range_answer
    cdef const uint8_t *key_value
    cdef size_t range_length, key_value_length
    cdef Field field
    cdef int more = next_field(&at, data + length, &field)
    memset(answer, 0, sizeof(Answer))
    while more > 0:
        if field.number == 1 and field.wire_type == 2:
            answer.revision = varint_of(field.data, field.length, 3)
        elif field.number == 2:
            if is_txn:
                answer.succeeded = field.value != 0
            else:
                answer.keys += 1
        elif field.number == 3 and is_txn and field.wire_type == 2 and not answer.found_revision:
            range_answer = inner(field.data, field.length, 1, &range_length)
            if range_answer != NULL:
                key_value = inner(range_answer, range_length, 2, &key_value_length)
                if key_value != NULL:
                    answer.found_revision = varint_of(key_value, key_value_length, 3)
        more = next_field(&at, data + length, &field)
    return more


cdef int read_keep_alive(Answer *answer, const uint8_t *data, size_t length) noexcept nogil:
    memset(answer, 0, sizeof(Answer))
    answer.ttl = varint_of(data, length, 3)
    return 0


cdef void read_event(WatchTally *tally, const uint8_t *data, size_t length,
                     int64_t now_ns) noexcept nogil:
    cdef const uint8_t *at = data
    cdef const uint8_t *value
    cdef size_t value_length
    cdef int64_t stamp_ns
    cdef Field field
    tally.events += 1
    if now_ns >= tally.from_ns and (tally.until_ns == 0 or now_ns <= tally.until_ns):
        tally.events_in_window += 1
    while next_field(&at, data + length, &field) > 0:
        if field.number == 3:
            tally.previous += 1
        if field.number != 2:
            continue
        value = inner(field.data, field.length, 5, &value_length)
        if value != NULL and value_length >= STAMP_MAGIC_BYTES + 8 \
                and memcmp(value, MAGIC, STAMP_MAGIC_BYTES) == 0:
            memcpy(&stamp_ns, value + STAMP_MAGIC_BYTES, 8)
            if stamp_ns >= tally.from_ns:
                buckets_record(tally.latencies, now_ns - stamp_ns)


cdef int read_watch(WatchTally *tally, const uint8_t *data, size_t length,
                    int64_t now_ns) noexcept nogil:
    """Count what a WatchResponse brings. Returns -1 where it is no protobuf."""
    cdef const uint8_t *at = data
    cdef Field field
    cdef int more = next_field(&at, data + length, &field)
    while more > 0:
        if field.number == 11 and field.wire_type == 2:
            read_event(tally, field.data, field.length, now_ns)
        elif field.number == 3 and field.value:
            tally.created += 1
        elif field.number == 4 and field.value:
            tally.cancelled += 1
        more = next_field(&at, data + length, &field)
    return more
