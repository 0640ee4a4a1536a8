# Pages of a bbolt file, built from the bottom up: elements in, pages with ascending ids out.
#
# page     u64 id, u16 flags, u16 count, u32 overflow (pages that it takes beyond the first), then
#          `count` elements, then the elements' keys and values in their order
# leaf     element: u32 flags (1: the value is a bucket), u32 position of the key counted from the
#          element's own beginning, u32 key size, u32 value size
# branch   element: u32 position likewise, u32 key size, u64 page id; the key is the child's first
# meta     pages 0 and 1: u32 magic, u32 version, u32 page size, u32 flags, u64 root page and
#          u64 sequence of the outermost bucket, u64 page of the free list, u64 number of pages,
#          u64 transaction id, u64 FNV-1a over all before
# bucket   a leaf value: u64 root page, u64 sequence
#
# Integers are little-endian. A page is written as soon as it is full, so memory is one page a
# level; its parent comes later in the file, which bbolt does not mind. bbolt asserts, when it
# deletes, that a branch has two children: one that is closed hands its last child to the next.

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from raftkv._native.wire cimport Buffer

cdef enum:
    PAGE_BYTES = 4096
    PAGE_HEADER_BYTES = 16
    ELEMENT_BYTES = 16
    BUCKET_BYTES = 16
    META_BYTES = 64
    FREE_LIST_PAGE = 2
    FIRST_DATA_PAGE = 3           # after two meta pages and the free list
    PAGE_BRANCH = 0x01
    PAGE_LEAF = 0x02
    PAGE_META = 0x04
    PAGE_FREE_LIST = 0x10
    ELEMENT_BUCKET = 0x01
    META_MAGIC = 0xED0CDAED
    META_VERSION = 2
    LEVELS_MAX = 24               # a closed branch has two children at least: 2 ** 23 leaves

cdef struct Element:
    uint64_t child                # page id, in a branch
    uint32_t flags
    uint32_t key_size
    uint32_t value_size

cdef struct Level:                # the page that is being filled on one level
    Buffer elements               # of struct Element
    Buffer data                   # keys and values; when counting, only the first key in a leaf
    size_t data_bytes             # of all keys and values, copied or not
    uint64_t pages                # of this bucket, closed before

@cython.final
cdef class PageBuilder:
    cdef Level levels[LEVELS_MAX] # 0: leaves
    cdef Buffer out               # finished pages, for the owner to take
    cdef bint counting            # give ids and sizes only, write nothing
    cdef uint64_t next_page       # id of the page closed next

    cdef void restart(self, bint counting) noexcept nogil
    # Begin the next element of the leaf; the caller appends `value_size` bytes of value to
    # `levels[0].data` unless counting. Keys must ascend within a bucket. 0 or ENOMEM.
    cdef int add(
        self, uint32_t flags, const uint8_t *key, size_t key_size, size_t value_size
    ) noexcept nogil
    # Close what is open of the bucket and give its root page. 0 or ENOMEM.
    cdef int finish_bucket(self, uint64_t *root) noexcept nogil
    # The two meta pages and an empty free list. 0 or ENOMEM.
    cdef int write_head(self, uint64_t root, uint64_t pages) noexcept nogil

    cdef int place(
        self, int level, uint32_t flags, const uint8_t *key, size_t key_size, size_t value_size,
        uint64_t child,
    ) noexcept nogil
    cdef int close_page(self, int level, size_t kept) noexcept nogil
    cdef int write_page(self, int level, size_t count, size_t data_bytes) noexcept nogil

# Make room for `more` bytes without the GIL: 0 or ENOMEM.
cdef int make_room(Buffer *buffer, size_t more) noexcept nogil
