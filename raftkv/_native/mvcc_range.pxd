# Evaluating a RangeRequest over a view: filters, order, limit, count.

from libc.stdint cimport int64_t
from raftkv._native.mvcc_request cimport RangeRequest
from raftkv._native.mvcc_view cimport KeyVersion, MergeCursor, MvccView
from raftkv._native.wire cimport Buffer

cdef enum:
    FIND_END = 0
    FIND_OTHER = 1                # a version that does not pass the filters
    FIND_WANTED = 2
    SMALL_KEYS_MAX = 8192         # a range that tells of more keys is not small: some ms
    SMALL_BYTES_MAX = 2 << 20     # nor is one whose answer is longer
    SMALL_COUNT_MAX = 1 << 15     # nor one that counts more keys
    LIKELY_KEYS = 512             # where more are wanted, sizes are looked at before values
    AT_ONCE_KEYS = 16             # whose values are found before the first of them is read

# Append kvs, more and count of a RangeResponse. `revision` is the one to read at, already checked.
# Cost: O(keys in the range), because the count takes no notice of the limit (unless `uncounted`,
# in the order of keys: then O(limit)), less what was counted before (`range_counts`); memory:
# O(keys) only when the request wants an order that is not the key's. Returns 1, with `out` in no
# good state, where `small_only` is set and the range is not small; other orders always pass.
cdef int write_range(
    MvccView view, const RangeRequest *request, int64_t revision, Buffer *out
) except -1

cdef struct Part:                 # of a range in the order of keys, found and not yet written
    KeyVersion[AT_ONCE_KEYS] found
    int size
    size_t bytes                  # of their messages

# Go to the next version. FIND_WANTED: it passes and was added to the part, which had room.
cdef int find_next(
    MvccView view, const RangeRequest *request, MergeCursor *at, Part *part
) except -1
# Append what was found, whose memory may have arrived by now, and empty the part.
cdef int write_part(
    MvccView view, const RangeRequest *request, Part *part, Buffer *out
) except -1
# True where the answer follows the order of keys.
cdef bint in_key_order(const RangeRequest *request) noexcept nogil
# True where a version passes the filters on revisions.
cdef bint passes(const RangeRequest *request, const KeyVersion *version) noexcept nogil
