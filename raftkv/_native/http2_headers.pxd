"""The header fields of one request, kept in nghttp2's own reference-counted buffers."""

from raftkv._native.nghttp2 cimport nghttp2_rcbuf

cdef struct HeaderField:
    nghttp2_rcbuf *name          # both hold a reference
    nghttp2_rcbuf *value

cdef struct HeaderFields:
    HeaderField *at              # PyMem; in the order of the request
    int count
    int capacity

# Keep one field; takes references.
cdef int keep_field(HeaderFields *fields, nghttp2_rcbuf *name, nghttp2_rcbuf *value) except -1
# Give all references and the memory back.
cdef void free_fields(HeaderFields *fields) noexcept
# Copy the fields as (name, value) pairs of bytes.
cdef list listed_fields(const HeaderFields *fields)
