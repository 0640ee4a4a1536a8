"""Which handler answers which gRPC path."""


cdef class Method:
    cdef readonly bytes path
    cdef readonly bint is_streaming
    cdef readonly object handler


cdef class MethodTable:
    cdef dict methods                    # path -> Method
    cdef set services                    # names, for the text of an unknown method
