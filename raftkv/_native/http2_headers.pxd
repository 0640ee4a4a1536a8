"""The header fields of one request, or of many whose encoded blocks are equal."""

from libc.stdint cimport uint8_t

from raftkv._native.http2_methods cimport Method

cdef enum:
    HEADER_FIELD_OVERHEAD = 32       # RFC 9113 §6.5.2

cdef struct HeaderField:             # places in the block's text
    size_t name_at
    size_t name_length
    size_t value_at
    size_t value_length


cdef class HeaderBlock:
    cdef bytes encoded               # as it came, where the block can be met again; else None
    cdef Method method               # of the path, once it was looked for; None: not found
    cdef Py_ssize_t size             # as RFC 9113 counts header lists
    cdef double timeout_s            # from grpc-timeout; negative: none
    cdef bint is_grpc
    cdef bint is_post
    cdef bint has_path
    cdef size_t path_at              # in the text
    cdef size_t path_length
    cdef size_t http_method_at       # in the text; without length where :method is POST or missing
    cdef size_t http_method_length
    cdef uint8_t *text               # PyMem
    cdef size_t text_length
    cdef size_t text_capacity
    cdef HeaderField *fields         # PyMem; regular fields and :authority, in order
    cdef int count
    cdef int capacity

    cdef int add(self, const uint8_t *name, size_t name_length, const uint8_t *value,
                 size_t value_length) except -1
    cdef size_t keep_text(self, const uint8_t *text, size_t length) except? 0
    cdef int keep_field(self, const uint8_t *name, size_t name_length, const uint8_t *value,
                        size_t value_length) except -1
    cdef bytes path(self)
    cdef bytes http_method(self)
    cdef list listed(self)


# Whether decoding a block changes the decoder's table, or the block cannot be told: RFC 7541 §6.
cdef bint changes_table(const uint8_t *block, size_t length) noexcept
