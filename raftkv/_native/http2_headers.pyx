"""Header fields of a request: see `http2_headers.pxd`."""

from cpython.mem cimport PyMem_Free, PyMem_Realloc

from raftkv._native.http2_wire cimport bytes_of
from raftkv._native.nghttp2 cimport nghttp2_rcbuf_decref, nghttp2_rcbuf_incref

cdef enum:
    FIELDS_AT_FIRST = 12


cdef int keep_field(HeaderFields *fields, nghttp2_rcbuf *name, nghttp2_rcbuf *value) except -1:
    cdef int capacity
    cdef void *grown
    if fields.count == fields.capacity:
        capacity = max(FIELDS_AT_FIRST, fields.capacity * 2)
        grown = PyMem_Realloc(fields.at, capacity * sizeof(HeaderField))
        if grown == NULL:
            raise MemoryError
        fields.at = <HeaderField *>grown
        fields.capacity = capacity
    nghttp2_rcbuf_incref(name)
    nghttp2_rcbuf_incref(value)
    fields.at[fields.count].name = name
    fields.at[fields.count].value = value
    fields.count += 1
    return 0


cdef void free_fields(HeaderFields *fields) noexcept:
    cdef int i
    for i in range(fields.count):
        nghttp2_rcbuf_decref(fields.at[i].name)
        nghttp2_rcbuf_decref(fields.at[i].value)
    PyMem_Free(fields.at)
    fields.at = NULL
    fields.count = fields.capacity = 0


cdef list listed_fields(const HeaderFields *fields):
    cdef int i
    return [(bytes_of(fields.at[i].name), bytes_of(fields.at[i].value))
            for i in range(fields.count)]
