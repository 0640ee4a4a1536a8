"""Range evaluation: see `mvcc_range.pxd`. Semantics: etcd `server/etcdserver/txn/range.go`."""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, qsort, realloc
from raftkv._native.mem_table cimport compare_keys
from raftkv._native.mvcc_request cimport (
    SORT_DESCEND,
    TARGET_CREATE,
    TARGET_KEY,
    TARGET_MOD,
    TARGET_VALUE,
    TARGET_VERSION,
)
from raftkv._native.mvcc_view cimport KeyVersion, MergeCursor, close_merge, write_key_value
from raftkv._native.wire cimport write_varint_field

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


cdef int write_in_key_order(
    MvccView view, const RangeRequest *request, MergeCursor *at, Buffer *out
) except -1:
    """Write each version as the cursor meets it: nothing is held."""
    cdef KeyVersion version
    cdef int64_t count = 0, written = 0
    cdef bint more = False
    while view.next_version(at, &version):
        count += 1
        if request.small_only and (count > SMALL_KEYS_MAX or out.size > SMALL_BYTES_MAX):
            return 1
        if request.count_only or more or not passes(request, &version):
            continue
        if request.limit > 0 and written == request.limit:
            more = True
            if request.uncounted:
                break
            continue
        if not request.keys_only:
            view.load_value(&version)
        write_key_value(out, TAG_KVS, &version, not request.keys_only)
        written += 1
    write_varint_field(out, TAG_MORE, more)
    return write_varint_field(out, TAG_COUNT, count)


cdef bint in_key_order(const RangeRequest *request) noexcept nogil:
    return request.sort_target == TARGET_KEY and request.sort_order != SORT_DESCEND


cdef int write_range(
    MvccView view, const RangeRequest *request, int64_t revision, Buffer *out
) except -1:
    cdef MergeCursor at
    view.open_merge(&at, request.key, request.range_end, revision)
    try:
        if in_key_order(request) or request.count_only:
            return write_in_key_order(view, request, &at, out)
        return write_sorted(view, request, &at, out)
    finally:
        close_merge(&at)
