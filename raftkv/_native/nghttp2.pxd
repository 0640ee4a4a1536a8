"""The part of libnghttp2's C API (1.52 and later) that is used: decoding HPACK (RFC 7541)."""

from libc.stdint cimport uint8_t


cdef extern from "nghttp2/nghttp2.h":
    ctypedef struct nghttp2_hd_inflater:
        pass

    ctypedef struct nghttp2_nv:
        uint8_t *name
        uint8_t *value
        size_t namelen
        size_t valuelen
        uint8_t flags

    cdef enum:
        NGHTTP2_HD_INFLATE_FINAL
        NGHTTP2_HD_INFLATE_EMIT

    int nghttp2_hd_inflate_new(nghttp2_hd_inflater **inflater)
    void nghttp2_hd_inflate_del(nghttp2_hd_inflater *inflater)
    # What `field` points to is good until the next call.
    ssize_t nghttp2_hd_inflate_hd2(
        nghttp2_hd_inflater *inflater, nghttp2_nv *field, int *flags, const uint8_t *data,
        size_t length, int is_final)
    int nghttp2_hd_inflate_end_headers(nghttp2_hd_inflater *inflater)
