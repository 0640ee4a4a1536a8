"""Latencies in buckets of equal relative width (the idea of HdrHistogram)."""

from libc.stdint cimport int64_t, uint64_t
from libc.math cimport ceil
from libc.string cimport memset


cdef extern from *:
    int clz64 "__builtin_clzll"(unsigned long long value) noexcept nogil


cdef inline int bucket_of(uint64_t value) noexcept nogil:
    cdef int shift
    if value < FINE:
        return <int>value
    shift = 63 - clz64(value) - FINE_BITS
    if shift >= VALUE_BITS_MAX - FINE_BITS:
        return BUCKETS - 1
    return (shift + 1) * FINE + <int>((value >> shift) - FINE)


cdef inline uint64_t upper_edge(int bucket) noexcept nogil:
    """Return the largest value that a bucket holds."""
    cdef int shift
    if bucket < FINE:
        return bucket
    shift = bucket // FINE - 1
    return ((<uint64_t>(FINE + bucket % FINE) + 1) << shift) - 1


cdef void buckets_record(Buckets *buckets, int64_t value_ns) noexcept nogil:
    cdef uint64_t value = <uint64_t>value_ns if value_ns > 0 else 0
    buckets.counts[bucket_of(value)] += 1
    buckets.total += 1
    buckets.sum_ns += value
    if value > buckets.max_ns:
        buckets.max_ns = value


cdef class Histogram:
    def __cinit__(self):
        memset(&self.buckets, 0, sizeof(Buckets))

    def record(self, int64_t value_ns):
        buckets_record(&self.buckets, value_ns)

    def merge(self, Histogram other not None):
        cdef int i
        for i in range(BUCKETS):
            self.buckets.counts[i] += other.buckets.counts[i]
        self.buckets.total += other.buckets.total
        self.buckets.sum_ns += other.buckets.sum_ns
        self.buckets.max_ns = max(self.buckets.max_ns, other.buckets.max_ns)

    def quantile(self, double fraction):
        cdef int i
        cdef uint64_t seen = 0
        cdef uint64_t wanted
        if not 0 <= fraction <= 1:
            raise ValueError("a fraction is between 0 and 1")
        if not self.buckets.total:
            return 0
        wanted = max(1, <uint64_t>ceil(fraction * <double>self.buckets.total))
        for i in range(BUCKETS):
            seen += self.buckets.counts[i]
            if seen >= wanted:
                return min(upper_edge(i), self.buckets.max_ns)
        return self.buckets.max_ns

    @property
    def total(self):
        return self.buckets.total

    @property
    def max_ns(self):
        return self.buckets.max_ns

    @property
    def mean_ns(self):
        return self.buckets.sum_ns / self.buckets.total if self.buckets.total else 0.0

    def steps(self):
        cdef int i
        cdef uint64_t seen = 0
        found = []
        for i in range(BUCKETS):
            if self.buckets.counts[i]:
                seen += self.buckets.counts[i]
                found.append((upper_edge(i), seen))
        return found
