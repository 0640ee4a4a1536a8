"""Numbers of keys in the order in which a load asks for them."""

from libc.math cimport pow
from libc.stdint cimport int64_t, uint64_t

cdef uint64_t SPREAD = 0x9E3779B97F4A7C15


cdef uint64_t next_random(uint64_t *state) noexcept nogil:
    """Splitmix64 (Steele, Lea, Flood 2014): 64 bits that pass for random."""
    cdef uint64_t mixed
    state[0] += SPREAD
    mixed = state[0]
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu
    return mixed ^ (mixed >> 31)


cdef inline double fraction(uint64_t *state) noexcept nogil:
    return <double>(next_random(state) >> 11) / 9007199254740992.0


cdef int64_t next_number(Numbers *numbers) noexcept nogil:
    cdef int64_t number
    cdef double chance, scaled
    cdef uint64_t rank
    if numbers.order == SEQUENTIAL:
        number = numbers.following
        numbers.following = (number + numbers.stride) % numbers.space
        return number
    if numbers.order == UNIFORM:
        return <int64_t>(next_random(&numbers.state) % <uint64_t>numbers.space)
    chance = fraction(&numbers.state)
    scaled = chance * numbers.zeta
    if scaled < 1.0:
        rank = 0
    elif scaled < 1.0 + pow(0.5, numbers.theta):
        rank = 1
    else:
        rank = <uint64_t>(<double>numbers.space
                          * pow(numbers.eta * chance - numbers.eta + 1.0, numbers.alpha))
    rank = (rank + 1) * SPREAD
    return <int64_t>((rank ^ (rank >> 29)) % <uint64_t>numbers.space)


cdef int numbers_begin(Numbers *numbers, str order, int64_t space, int64_t stride, uint64_t seed,
                       double theta) except -1:
    cdef int64_t i
    orders = {"uniform": UNIFORM, "zipfian": ZIPFIAN, "sequential": SEQUENTIAL}
    if order not in orders:
        raise ValueError(f"the order of keys is one of {', '.join(orders)}")
    if space < 1 or stride < 1 or not 0 < theta < 1:
        raise ValueError("space and stride are at least 1, theta is between 0 and 1")
    numbers.order = orders[order]
    numbers.space = space
    numbers.stride = stride
    numbers.following = 0
    numbers.state = seed
    numbers.theta = theta
    numbers.zeta = 0
    if numbers.order == ZIPFIAN:
        for i in range(1, space + 1):
            numbers.zeta += 1.0 / pow(<double>i, theta)
        numbers.alpha = 1.0 / (1.0 - theta)
        numbers.eta = (1.0 - pow(2.0 / <double>space, 1.0 - theta)) / (
            1.0 - (1.0 + pow(0.5, theta)) / numbers.zeta) if space > 2 else 1.0
    return 0


cdef class KeyStream:
    def __init__(self, str order, int64_t space, *, int64_t stride=1, uint64_t seed=1,
                 double theta=0.99):
        numbers_begin(&self.numbers, order, space, stride, seed, theta)

    def take(self, int count):
        return [next_number(&self.numbers) for _ in range(count)]
