"""Latencies in buckets of equal relative width, written by one thread without the GIL."""

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    FINE_BITS = 7                  # 128 buckets for each doubling: 0.8 % wide
    FINE = 128
    VALUE_BITS_MAX = 43            # of nanoseconds: values above about 2.4 hours count as that
    BUCKETS = 4736                 # (VALUE_BITS_MAX - FINE_BITS + 1) * FINE


cdef struct Buckets:
    uint64_t[BUCKETS] counts
    uint64_t total                 # values recorded
    uint64_t sum_ns
    uint64_t max_ns                # exact, unlike what the buckets tell


cdef void buckets_record(Buckets *buckets, int64_t value_ns) noexcept nogil


cdef class Histogram:
    cdef Buckets buckets
