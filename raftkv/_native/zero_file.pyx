"""Files of zeros: see `zero_file.pyi` for the contract."""

import os

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from posix.types cimport off_t

cdef extern from "<fcntl.h>" nogil:
    unsigned int SYNC_FILE_RANGE_WAIT_BEFORE
    unsigned int SYNC_FILE_RANGE_WRITE
    unsigned int SYNC_FILE_RANGE_WAIT_AFTER
    int sync_file_range(int fd, off_t offset, off_t size, unsigned int flags)

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)

cdef enum:
    PAGE_BYTES = 4096
    STEP_BYTES = 256 << 10
    REST_NS_MIN = 1_000_000
    REST_NS_MAX = 5_000_000


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef void rest(int64_t step_ns) noexcept nogil:
    """Leave the disk to others for twice as long as the step took, within bounds."""
    cdef timespec time
    time.tv_sec = 0
    time.tv_nsec = max(<int64_t>REST_NS_MIN, min(2 * step_ns, <int64_t>REST_NS_MAX))
    nanosleep(&time, NULL)


cdef int write_zeros(int fd, uint64_t start, uint64_t end) noexcept nogil:
    """Write a page at a time: 0 or an errno."""
    cdef uint8_t page[PAGE_BYTES]
    cdef uint64_t at = start
    cdef ssize_t written
    memset(page, 0, PAGE_BYTES)
    while at < end:
        written = pwrite(fd, page, min(end - at, <uint64_t>PAGE_BYTES), <off_t>at)
        if written >= 0:
            at += written
        elif errno != EINTR:
            return errno
    return 0


cdef class ZeroFile:
    """See the .pyi."""

    cdef public bint hurry

    def write(self, int descriptor, uint64_t size_bytes):
        cdef uint64_t at = 0
        cdef uint64_t end
        cdef int64_t began
        cdef int code = 0
        with nogil:
            while at < size_bytes and code == 0:
                began = now_ns()
                end = min(at + STEP_BYTES, size_bytes)
                code = write_zeros(descriptor, at, end)
                if code == 0 and end < size_bytes and not self.hurry:
                    # A hint only: whether all is on disk, the caller's sync tells.
                    sync_file_range(
                        descriptor, <off_t>at, <off_t>(end - at), SYNC_FILE_RANGE_WAIT_BEFORE
                        | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER)
                    rest(now_ns() - began)
                at = end
        if code:
            raise OSError(code, os.strerror(code))
