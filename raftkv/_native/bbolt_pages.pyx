"""Building bbolt pages: see `bbolt_pages.pxd` for the format and the contracts."""

from libc.errno cimport ENOMEM
from libc.stdint cimport uint16_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memmove, memset
from raftkv._native.wire cimport buffer_free, put_raw

cdef enum:
    ROOM_BYTES_MIN = 4096

cdef uint64_t FNV_OFFSET = 0xCBF29CE484222325u
cdef uint64_t FNV_PRIME = 0x100000001B3u


cdef int make_room(Buffer *buffer, size_t more) noexcept nogil:
    cdef size_t wanted = buffer.size + more
    cdef size_t capacity = buffer.capacity * 2
    cdef void *data
    if wanted <= buffer.capacity:
        return 0
    if capacity < wanted:
        capacity = wanted
    if capacity < ROOM_BYTES_MIN:
        capacity = ROOM_BYTES_MIN
    data = realloc(buffer.data, capacity)
    if data == NULL:
        return ENOMEM
    buffer.data = <uint8_t *>data
    buffer.capacity = capacity
    return 0


cdef inline size_t count_of(const Level *level) noexcept nogil:
    return level.elements.size // sizeof(Element)


cdef uint64_t fnv1a(const uint8_t *data, size_t size) noexcept nogil:
    cdef uint64_t value = FNV_OFFSET
    cdef size_t i
    for i in range(size):
        value = (value ^ data[i]) * FNV_PRIME
    return value


cdef void put_page_header(
    uint8_t *out, uint64_t page, uint16_t flags, uint16_t count, uint32_t overflow
) noexcept nogil:
    memcpy(out, &page, 8)
    memcpy(out + 8, &flags, 2)
    memcpy(out + 10, &count, 2)
    memcpy(out + 12, &overflow, 4)


cdef class PageBuilder:
    """See the .pxd. One thread at a time; no method needs the GIL."""

    def __dealloc__(self):
        cdef int i
        for i in range(LEVELS_MAX):
            buffer_free(&self.levels[i].elements)
            buffer_free(&self.levels[i].data)
        buffer_free(&self.out)

    cdef void restart(self, bint counting) noexcept nogil:
        cdef int i
        self.counting = counting
        self.next_page = FIRST_DATA_PAGE
        self.out.size = 0
        for i in range(LEVELS_MAX):
            self.levels[i].elements.size = self.levels[i].data.size = 0
            self.levels[i].data_bytes = self.levels[i].pages = 0

    cdef int add(
        self, uint32_t flags, const uint8_t *key, size_t key_size, size_t value_size
    ) noexcept nogil:
        return self.place(0, flags, key, key_size, value_size, 0)

    cdef int place(
        self, int level, uint32_t flags, const uint8_t *key, size_t key_size, size_t value_size,
        uint64_t child,
    ) noexcept nogil:
        cdef Level *at = &self.levels[level]
        cdef Element element
        cdef size_t count = count_of(at)
        cdef size_t size = PAGE_HEADER_BYTES + (count + 1) * ELEMENT_BYTES + at.data_bytes
        if size + key_size + value_size > PAGE_BYTES and count >= (1 if level == 0 else 3):
            if self.close_page(level, 0 if level == 0 else 1):
                return ENOMEM
        if make_room(&at.elements, sizeof(Element)) or make_room(&at.data, key_size + value_size):
            return ENOMEM
        if not self.counting or level or at.elements.size == 0:
            put_raw(&at.data, key, key_size)
        element.child = child
        element.flags = flags
        element.key_size = <uint32_t>key_size
        element.value_size = <uint32_t>value_size
        put_raw(&at.elements, <uint8_t *>&element, sizeof(Element))
        at.data_bytes += key_size + value_size
        return 0

    cdef int close_page(self, int level, size_t kept) noexcept nogil:
        """Write the page but for its last `kept` elements, which begin the next; tell its parent.

        `kept` is 0 or, in a branch, 1.
        """
        cdef Level *at = &self.levels[level]
        cdef const Element *first = <Element *>at.elements.data
        cdef size_t count = count_of(at) - kept
        cdef size_t bytes_left = first[count].key_size if kept else 0
        cdef size_t data_bytes = at.data_bytes - bytes_left
        cdef size_t size = PAGE_HEADER_BYTES + count * ELEMENT_BYTES + data_bytes
        cdef uint64_t page = self.next_page
        if level + 1 == LEVELS_MAX:
            return ENOMEM
        if not self.counting and self.write_page(level, count, data_bytes):
            return ENOMEM
        self.next_page += (size + PAGE_BYTES - 1) // PAGE_BYTES
        at.pages += 1
        if self.place(
                level + 1, 0, at.data.data, first[0].key_size if count else 0, 0, page):
            return ENOMEM
        at.elements.size = kept * sizeof(Element)
        at.data.size = at.data_bytes = bytes_left
        if kept:
            memmove(at.elements.data, first + count, sizeof(Element))
            memmove(at.data.data, at.data.data + data_bytes, bytes_left)
        return 0

    cdef int write_page(self, int level, size_t count, size_t data_bytes) noexcept nogil:
        cdef Level *at = &self.levels[level]
        cdef const Element *element = <Element *>at.elements.data
        cdef size_t size = PAGE_HEADER_BYTES + count * ELEMENT_BYTES + data_bytes
        cdef size_t pages = (size + PAGE_BYTES - 1) // PAGE_BYTES
        cdef size_t offset = PAGE_HEADER_BYTES + count * ELEMENT_BYTES
        cdef size_t i
        cdef uint32_t position
        cdef uint8_t *page
        cdef uint8_t *out
        if make_room(&self.out, pages * PAGE_BYTES):
            return ENOMEM
        page = self.out.data + self.out.size
        self.out.size += pages * PAGE_BYTES
        put_page_header(page, self.next_page, PAGE_BRANCH if level else PAGE_LEAF,
                        <uint16_t>count, <uint32_t>(pages - 1))
        for i in range(count):
            out = page + PAGE_HEADER_BYTES + i * ELEMENT_BYTES
            position = <uint32_t>(offset - PAGE_HEADER_BYTES - i * ELEMENT_BYTES)
            if level:
                memcpy(out, &position, 4)
                memcpy(out + 4, &element[i].key_size, 4)
                memcpy(out + 8, &element[i].child, 8)
            else:
                memcpy(out, &element[i].flags, 4)
                memcpy(out + 4, &position, 4)
                memcpy(out + 8, &element[i].key_size, 4)
                memcpy(out + 12, &element[i].value_size, 4)
            offset += element[i].key_size + element[i].value_size
        out = page + PAGE_HEADER_BYTES + count * ELEMENT_BYTES
        if data_bytes:
            memcpy(out, at.data.data, data_bytes)
        memset(page + size, 0, pages * PAGE_BYTES - size)
        return 0

    cdef int finish_bucket(self, uint64_t *root) noexcept nogil:
        cdef int level = 0
        cdef Level *at = &self.levels[0]
        if at.elements.size or at.pages == 0:
            if self.close_page(0, 0):
                return ENOMEM
        while True:
            at.pages = 0
            level += 1
            at = &self.levels[level]
            if at.pages == 0 and count_of(at) == 1:
                root[0] = (<Element *>at.elements.data)[0].child
                at.elements.size = at.data.size = at.data_bytes = 0
                return 0
            if self.close_page(level, 0):
                return ENOMEM

    cdef int write_head(self, uint64_t root, uint64_t pages) noexcept nogil:
        cdef uint32_t numbers[4]
        cdef uint64_t longs[6]
        cdef uint8_t *page
        cdef uint64_t i
        if make_room(&self.out, FIRST_DATA_PAGE * PAGE_BYTES):
            return ENOMEM
        numbers[:] = [META_MAGIC, META_VERSION, PAGE_BYTES, 0]
        memset(self.out.data, 0, FIRST_DATA_PAGE * PAGE_BYTES)
        for i in range(2):
            page = self.out.data + i * PAGE_BYTES
            put_page_header(page, i, PAGE_META, 0, 0)
            longs[:] = [root, 0, FREE_LIST_PAGE, pages, i, 0]
            memcpy(page + PAGE_HEADER_BYTES, numbers, 16)
            memcpy(page + PAGE_HEADER_BYTES + 16, longs, 40)
            longs[5] = fnv1a(page + PAGE_HEADER_BYTES, META_BYTES - 8)
            memcpy(page + PAGE_HEADER_BYTES + META_BYTES - 8, &longs[5], 8)
        put_page_header(
            self.out.data + FREE_LIST_PAGE * PAGE_BYTES, FREE_LIST_PAGE, PAGE_FREE_LIST, 0, 0)
        self.out.size = FIRST_DATA_PAGE * PAGE_BYTES
        return 0
