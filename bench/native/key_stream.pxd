"""Numbers of keys in the order in which a load asks for them."""

from libc.stdint cimport int64_t, uint64_t

cdef enum Order:
    UNIFORM = 0
    ZIPFIAN = 1
    SEQUENTIAL = 2


cdef struct Numbers:
    Order order
    int64_t space                  # numbers are in [0, space)
    int64_t stride                 # of SEQUENTIAL
    int64_t following              # the next of SEQUENTIAL
    uint64_t state                 # of the generator (splitmix64)
    double theta                   # of ZIPFIAN: how much hotter the hot keys are; and what Gray's
    double zeta                    # method needs: the sum of 1/i^theta over the space,
    double alpha                   # 1 / (1 - theta),
    double eta


cdef uint64_t next_random(uint64_t *state) noexcept nogil
cdef int64_t next_number(Numbers *numbers) noexcept nogil
cdef int numbers_begin(Numbers *numbers, str order, int64_t space, int64_t stride, uint64_t seed,
                       double theta) except -1


cdef class KeyStream:
    cdef Numbers numbers
