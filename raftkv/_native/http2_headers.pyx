"""Header fields of a request: see `http2_headers.pxd`."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint8_t
from libc.string cimport memcmp, memcpy

from raftkv._native.http2_wire cimport parse_timeout

cdef enum:
    FIELDS_AT_FIRST = 8
    TEXT_AT_FIRST = 256


cdef inline bint equal(const uint8_t *have, size_t have_length, const char *want,
                       size_t length) noexcept:
    return have_length == length and memcmp(have, want, length) == 0


cdef class HeaderBlock:
    """What a client said before its request's body."""

    def __cinit__(self):
        self.timeout_s = -1

    def __dealloc__(self):
        PyMem_Free(self.text)
        PyMem_Free(self.fields)

    cdef int add(self, const uint8_t *name, size_t name_length, const uint8_t *value,
                 size_t value_length) except -1:
        """Take one field; the caller has seen to the bounds."""
        self.size += <Py_ssize_t>(name_length + value_length) + HEADER_FIELD_OVERHEAD
        if name_length > 0 and name[0] == c':':
            if equal(name, name_length, ":path", 5) and not self.has_path:
                self.has_path = True
                self.path_at = self.keep_text(value, value_length)
                self.path_length = value_length
            elif equal(name, name_length, ":method", 7):
                self.is_post = equal(value, value_length, "POST", 4)
                if not self.is_post and self.http_method_length == 0:
                    self.http_method_at = self.keep_text(value, value_length)
                    self.http_method_length = value_length
            if not equal(name, name_length, ":authority", 10):
                return 0
        if equal(name, name_length, "content-type", 12):
            self.is_grpc = value_length >= 16 and memcmp(value, "application/grpc", 16) == 0
        elif equal(name, name_length, "grpc-timeout", 12):
            self.timeout_s = parse_timeout(value, value_length)
        return self.keep_field(name, name_length, value, value_length)

    cdef size_t keep_text(self, const uint8_t *text, size_t length) except? 0:
        """Copy bytes behind the others; returns their place."""
        cdef size_t at = self.text_length
        cdef size_t capacity
        cdef void *grown
        if at + length > self.text_capacity:
            capacity = max(max(self.text_capacity * 2, at + length), TEXT_AT_FIRST)
            grown = PyMem_Realloc(self.text, capacity)
            if grown == NULL:
                raise MemoryError
            self.text = <uint8_t *>grown
            self.text_capacity = capacity
        if length:
            memcpy(self.text + at, text, length)
        self.text_length += length
        return at

    cdef int keep_field(self, const uint8_t *name, size_t name_length, const uint8_t *value,
                        size_t value_length) except -1:
        cdef int capacity
        cdef void *grown
        if self.count == self.capacity:
            capacity = max(FIELDS_AT_FIRST, self.capacity * 2)
            grown = PyMem_Realloc(self.fields, capacity * sizeof(HeaderField))
            if grown == NULL:
                raise MemoryError
            self.fields = <HeaderField *>grown
            self.capacity = capacity
        self.fields[self.count].name_at = self.keep_text(name, name_length)
        self.fields[self.count].name_length = name_length
        self.fields[self.count].value_at = self.keep_text(value, value_length)
        self.fields[self.count].value_length = value_length
        self.count += 1
        return 0

    cdef bytes path(self):
        """The :path, or b"" where there is none."""
        return PyBytes_FromStringAndSize(<char *>self.text + self.path_at, self.path_length)

    cdef bytes http_method(self):
        """The :method; POST where there is none."""
        if self.http_method_length == 0:
            return b"POST"
        return PyBytes_FromStringAndSize(
            <char *>self.text + self.http_method_at, self.http_method_length)

    cdef list listed(self):
        """Copy the fields as (name, value) pairs."""
        cdef int i
        cdef HeaderField *at
        pairs = []
        for i in range(self.count):
            at = &self.fields[i]
            pairs.append((
                PyBytes_FromStringAndSize(<char *>self.text + at.name_at, at.name_length),
                PyBytes_FromStringAndSize(<char *>self.text + at.value_at, at.value_length)))
        return pairs


cdef size_t integer_end(const uint8_t *block, size_t at, size_t length, int prefix_bits,
                        size_t *number) noexcept:
    """Read an integer (RFC 7541 §5.1); returns the place behind it, 0 where it is broken."""
    cdef size_t most = (<size_t>1 << prefix_bits) - 1
    cdef int shift = 0
    number[0] = block[at] & most
    at += 1
    if number[0] < most:
        return at
    while at < length and shift <= 21:
        number[0] += <size_t>(block[at] & 0x7F) << shift
        at += 1
        if not block[at - 1] & 0x80:
            return at
        shift += 7
    return 0


cdef bint changes_table(const uint8_t *block, size_t length) noexcept:
    cdef size_t at = 0, number = 0
    cdef int strings
    while at < length:
        if block[at] & 0x80:                           # an indexed field
            at = integer_end(block, at, length, 7, &number)
            if at == 0:
                return True
            continue
        if block[at] & 0x60:                           # indexing, or a new table size
            return True
        at = integer_end(block, at, length, 4, &number)
        strings = 2 if number == 0 else 1
        while strings > 0:
            if at == 0 or at >= length:
                return True
            at = integer_end(block, at, length, 7, &number)
            if at == 0 or number > length - at:
                return True
            at += number
            strings -= 1
    return False
