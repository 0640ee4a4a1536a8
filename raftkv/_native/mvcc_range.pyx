"""Range evaluation: see `mvcc_range.pxd`. Semantics: etcd `server/etcdserver/txn/range.go`."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, qsort, realloc
from raftkv._native.count_walk cimport CountWalk, begin_count
from raftkv._native.mem_table cimport compare_keys
from raftkv._native.mvcc_request cimport (
    SORT_DESCEND,
    TARGET_CREATE,
    TARGET_KEY,
    TARGET_MOD,
    TARGET_VALUE,
    TARGET_VERSION,
)
from raftkv._native.mvcc_view cimport (
    KeyVersion,
    MergeCursor,
    close_merge,
    key_value_size,
    write_key_value,
)
from raftkv._native.wire cimport Span, write_varint_field

cdef enum:
    TAG_KVS = 18
    TAG_MORE = 24
    TAG_COUNT = 32


cdef struct Item:
    KeyVersion version
    int64_t rank                  # the number to sort by, negated for descending order
    int64_t position              # place in key order: breaks ties


cdef struct Items:
    Item *at
    int64_t size
    int64_t capacity


cdef int by_rank(const void *a, const void *b) noexcept nogil:
    cdef const Item *left = <const Item *>a
    cdef const Item *right = <const Item *>b
    if left.rank != right.rank:
        return -1 if left.rank < right.rank else 1
    return -1 if left.position < right.position else 1


cdef int by_value(const void *a, const void *b) noexcept nogil:
    cdef const Item *left = <const Item *>a
    cdef const Item *right = <const Item *>b
    cdef int order = compare_keys(
        left.version.value, left.version.value_size, right.version.value, right.version.value_size
    )
    if order == 0:
        return -1 if left.position < right.position else 1
    return -order if left.rank < 0 else order


cdef int append_item(Items *items, const KeyVersion *version) except -1:
    cdef int64_t capacity
    cdef void *memory
    if items.size == items.capacity:
        capacity = items.capacity * 2 if items.capacity else 64
        memory = realloc(items.at, capacity * sizeof(Item))
        if memory == NULL:
            raise MemoryError(f"no memory to sort {capacity} keys")
        items.at = <Item *>memory
        items.capacity = capacity
    items.at[items.size].version = version[0]
    items.at[items.size].position = items.size
    items.size += 1
    return 0


cdef bint passes(const RangeRequest *request, const KeyVersion *version) noexcept nogil:
    if request.max_mod_revision and version.main > request.max_mod_revision:
        return False
    if request.min_mod_revision and version.main < request.min_mod_revision:
        return False
    if request.max_create_revision and version.create_revision > request.max_create_revision:
        return False
    return not (
        request.min_create_revision and version.create_revision < request.min_create_revision
    )


cdef void sort_items(Items *items, const RangeRequest *request) noexcept nogil:
    """Order by the target; no order given means ascending, and ties keep the order of keys."""
    cdef bint descend = request.sort_order == SORT_DESCEND
    cdef int64_t rank, i
    for i in range(items.size):
        if request.sort_target == TARGET_VERSION:
            rank = items.at[i].version.version
        elif request.sort_target == TARGET_CREATE:
            rank = items.at[i].version.create_revision
        elif request.sort_target == TARGET_MOD:
            rank = items.at[i].version.main
        elif request.sort_target == TARGET_KEY:
            rank = i
        else:
            rank = 1
        items.at[i].rank = -rank if descend else rank
    qsort(items.at, items.size, sizeof(Item),
          by_value if request.sort_target == TARGET_VALUE else by_rank)


cdef int write_sorted(
    MvccView view, const RangeRequest *request, MergeCursor *at, Buffer *out
) except -1:
    """Collect, sort, then write as many as the limit lets through."""
    cdef Items items
    cdef KeyVersion version
    cdef int64_t count = 0, written = 0
    items.at = NULL
    items.size = items.capacity = 0
    try:
        while view.next_version(at, &version):
            count += 1
            if passes(request, &version):
                if request.sort_target == TARGET_VALUE:
                    view.load_value(&version)
                append_item(&items, &version)
        sort_items(&items, request)
        while written < items.size and (request.limit <= 0 or written < request.limit):
            if not request.keys_only:
                view.load_value(&items.at[written].version)
            write_key_value(out, TAG_KVS, &items.at[written].version, not request.keys_only)
            written += 1
        write_varint_field(out, TAG_MORE, written < items.size)
        write_varint_field(out, TAG_COUNT, count)
    finally:
        free(items.at)
    return 0


cdef int find_next(
    MvccView view, const RangeRequest *request, MergeCursor *at, Part *part
) except -1:
    cdef KeyVersion *version = &part.found[part.size]
    if not view.next_version(at, version):
        return FIND_END
    if not passes(request, version):
        return FIND_OTHER
    if not request.keys_only:
        view.find_value(version)
        view.load_size(version)
    part.bytes += key_value_size(version, not request.keys_only)
    part.size += 1
    return FIND_WANTED


cdef int write_part(
    MvccView view, const RangeRequest *request, Part *part, Buffer *out
) except -1:
    cdef int i
    for i in range(part.size):
        if not request.keys_only:
            view.load_value(&part.found[i])
        write_key_value(out, TAG_KVS, &part.found[i], not request.keys_only)
    part.size = 0
    part.bytes = 0
    return 0


cdef bint rest_is_small(
    MvccView view, const RangeRequest *request, Span start, int64_t revision, int64_t wanted,
    int64_t keys_left, int64_t bytes_left
) except -1:
    """Whether up to `wanted` more keys keep the bounds; the index tells it where it has sizes."""
    cdef MergeCursor at
    cdef KeyVersion version
    view.open_merge(&at, start, request.range_end, revision)
    try:
        while wanted and keys_left >= 0 and bytes_left >= 0 and view.next_version(&at, &version):
            keys_left -= 1
            if passes(request, &version):
                wanted -= 1
                if not request.keys_only:
                    view.load_size(&version)
                bytes_left -= key_value_size(&version, not request.keys_only)
    finally:
        close_merge(&at)
    return keys_left >= 0 and bytes_left >= 0


cdef int write_count(
    MvccView view, const RangeRequest *request, MergeCursor *at, CountWalk walk, int64_t count,
    bint more, Buffer *out
) except -1:
    """End the answer, `count` keys of which were met, with what the walk finds."""
    if not walk.step(at, SMALL_COUNT_MAX if request.small_only else INT64_MAX):
        return 1
    write_varint_field(out, TAG_MORE, more)
    return write_varint_field(out, TAG_COUNT, <uint64_t>(count + walk.total()))


cdef bint stays_small(
    MvccView view, const RangeRequest *request, const KeyVersion *latest, int64_t revision,
    int64_t met, int64_t wanted, size_t bytes
) except -1:
    """Whether an answer keeps the bounds, of `met` keys and so many bytes before the latest, and
    whether it will."""
    cdef Span start
    if bytes > SMALL_BYTES_MAX or met > SMALL_KEYS_MAX:
        return False
    if met != LIKELY_KEYS:
        return True
    start.at = latest.key
    start.end = start.at + latest.key_size
    return rest_is_small(
        view, request, start, revision, request.limit - wanted if request.limit > 0 else -1,
        SMALL_KEYS_MAX - met, SMALL_BYTES_MAX - <int64_t>bytes)


cdef int write_in_key_order(
    MvccView view, const RangeRequest *request, MergeCursor *at, Buffer *out
) except -1:
    """Write each version soon after the cursor has met it, until the limit; count the others."""
    cdef Part part
    cdef size_t bytes
    cdef KeyVersion latest
    cdef int64_t met = 0, wanted = 0
    cdef int found
    cdef Span key
    part.size = 0
    part.bytes = 0
    while request.limit <= 0 or wanted < request.limit:
        bytes = out.size + part.bytes
        found = find_next(view, request, at, &part)
        if found == FIND_END:
            write_part(view, request, &part, out)
            write_varint_field(out, TAG_MORE, False)
            return write_varint_field(out, TAG_COUNT, met)
        met += 1
        wanted += found == FIND_WANTED
        if request.small_only and not stays_small(
                view, request, &part.found[part.size - (found == FIND_WANTED)], at.revision, met,
                wanted, bytes):
            return 1
        if part.size == AT_ONCE_KEYS:
            write_part(view, request, &part, out)
    write_part(view, request, &part, out)
    while view.next_version(at, &latest):
        met += 1
        if passes(request, &latest):
            if request.uncounted:
                break
            key.at = latest.key
            key.end = key.at + latest.key_size
            return write_count(view, request, at, begin_count(
                view, key, False, request.range_end, request.counted_at), met, True, out)
        if request.small_only and met > SMALL_KEYS_MAX:
            return 1
    else:
        write_varint_field(out, TAG_MORE, False)
        return write_varint_field(out, TAG_COUNT, met)
    write_varint_field(out, TAG_MORE, True)
    return write_varint_field(out, TAG_COUNT, met)


cdef bint in_key_order(const RangeRequest *request) noexcept nogil:
    return request.sort_target == TARGET_KEY and request.sort_order != SORT_DESCEND


cdef int write_range(
    MvccView view, const RangeRequest *request, int64_t revision, Buffer *out
) except -1:
    cdef MergeCursor at
    cdef KeyVersion version
    view.open_merge(&at, request.key, request.range_end, revision)
    try:
        if request.count_only:
            if at.single:
                return write_varint_field(out, TAG_COUNT, view.next_version(&at, &version))
            return write_count(view, request, &at, begin_count(
                view, request.key, True, request.range_end, request.counted_at), 0, False, out)
        if in_key_order(request):
            return write_in_key_order(view, request, &at, out)
        return write_sorted(view, request, &at, out)
    finally:
        close_merge(&at)
