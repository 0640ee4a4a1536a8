# Evaluating a RangeRequest over a view: filters, order, limit, count.

from libc.stdint cimport int64_t
from raftkv._native.mvcc_request cimport RangeRequest
from raftkv._native.mvcc_view cimport MvccView
from raftkv._native.wire cimport Buffer

# Append kvs, more and count of a RangeResponse. `revision` is the one to read at, already checked.
# Cost: O(keys in the range), because the count takes no notice of the limit (unless `uncounted`,
# in the order of keys: then O(limit)); memory: O(keys) only
# when the request wants an order that is not the key's.
cdef int write_range(
    MvccView view, const RangeRequest *request, int64_t revision, Buffer *out
) except -1
