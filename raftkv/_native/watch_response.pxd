# Encoding the parts of an etcdserverpb.WatchResponse. Tags have one byte.

# One length-delimited field.
cdef bytes delimited(int tag, bytes payload)
# The field `watch_id`; nothing for zero, as proto3 asks.
cdef bytes watch_id_field(long long watch_id)
# One `events` field, with `prev_kv` unless that is None: one copy of each.
cdef bytes events_field(bytes event, bytes previous)
