# Evaluating a RangeRequest over a view: filters, order, limit, count.

from libc.stdint cimport int64_t
from raftkv._native.mvcc_request cimport RangeRequest
from raftkv._native.mvcc_view cimport KeyVersion, MvccView
from raftkv._native.wire cimport Buffer

cdef enum:
    SMALL_KEYS_MAX = 8192         # a range that goes through more keys is not small: some ms
    SMALL_BYTES_MAX = 2 << 20     # nor is one whose answer is longer

# Append kvs, more and count of a RangeResponse. `revision` is the one to read at, already checked.
# Cost: O(keys in the range), because the count takes no notice of the limit (unless `uncounted`,
# in the order of keys: then O(limit)); memory: O(keys) only
# when the request wants an order that is not the key's. Returns 1, with `out` in no good state,
# where `small_only` is set and the range turns out not to be small; other orders always pass.
cdef int write_range(
    MvccView view, const RangeRequest *request, int64_t revision, Buffer *out
) except -1

# True where the answer follows the order of keys.
cdef bint in_key_order(const RangeRequest *request) noexcept nogil
# True where a version passes the filters on revisions.
cdef bint passes(const RangeRequest *request, const KeyVersion *version) noexcept nogil
