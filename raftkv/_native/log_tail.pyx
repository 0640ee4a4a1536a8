# cython: language_level=3
"""See `log_tail.pxd`."""

import os
from contextlib import suppress

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EINTR, EINVAL, EOPNOTSUPP, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset
from posix.fcntl cimport F_SETFL, fcntl
from posix.stdlib cimport posix_memalign
from posix.types cimport off_t

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
    int close(int fd)

cdef enum:
    BUFFER_BYTES_KEPT = 4 << 20    # a larger one is given back after its write


cdef inline uint64_t whole_blocks(uint64_t size) noexcept nogil:
    return (size + BLOCK_BYTES - 1) & ~<uint64_t>(BLOCK_BYTES - 1)


cdef bytes read_at(path, uint64_t offset, size_t size):
    """Read through the page cache: a direct read would have to be of blocks, too."""
    with open(path, "rb", buffering=0) as file:
        found = os.pread(file.fileno(), size, offset)
    if len(found) < size:
        raise EOFError("the file was cut off")
    return found


cdef class LogTail:
    """See `log_tail.pxd`."""

    def __cinit__(self):
        self.fd = -1

    def __dealloc__(self):
        self.close()
        free(self.buffer)

    cdef void close(self) noexcept:
        if self.fd >= 0:
            close(self.fd)
            self.fd = -1

    cdef int begin(self, path, uint64_t position, uint64_t capacity) except -1:
        cdef size_t kept = position % BLOCK_BYTES
        cdef int flags = os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC
        cdef bytes before
        if position > capacity:
            raise ValueError("the log does not go on behind its segment")
        before = read_at(path, position - kept, kept)
        self.close()
        self.position = position
        self.reserve(0)
        memcpy(self.buffer, PyBytes_AS_STRING(before), kept)
        self.is_direct = False
        if capacity % BLOCK_BYTES == 0:
            with suppress(OSError):    # not on this file system
                self.fd = os.open(path, flags | os.O_DIRECT)
                self.is_direct = True
        if self.fd < 0:
            self.fd = os.open(path, flags)
        return 0

    cdef uint8_t *reserve(self, size_t size) except NULL:
        cdef size_t kept = self.position % BLOCK_BYTES
        cdef size_t wanted = whole_blocks(kept + size) or BLOCK_BYTES
        if wanted > self.buffer_bytes:
            self.resize(wanted)
        return self.buffer + kept

    cdef int resize(self, size_t size) except -1:
        """Have a buffer of `size` bytes; of what was in it, what is before `position` stays."""
        cdef void *memory = NULL
        if posix_memalign(&memory, BLOCK_BYTES, size) != 0:
            raise MemoryError
        if self.buffer != NULL:
            memcpy(memory, self.buffer, self.position % BLOCK_BYTES)
        free(self.buffer)
        self.buffer = <uint8_t *>memory
        self.buffer_bytes = size
        return 0

    cdef int write(self, size_t size) noexcept nogil:
        cdef size_t kept = self.position % BLOCK_BYTES
        cdef size_t end = kept + size
        cdef size_t at = kept
        cdef ssize_t written
        if end > self.buffer_bytes:
            return EINVAL
        if self.is_direct:
            memset(self.buffer + end, 0, whole_blocks(end) - end)
            end = whole_blocks(end)
            at = 0
        while at < end:
            written = pwrite(self.fd, self.buffer + at, end - at,
                             <off_t>(self.position - kept + at))
            if written >= 0:
                at += written
            elif self.is_direct and (errno == EINVAL or errno == EOPNOTSUPP):
                # No failure: this disk has larger blocks, or a short write has left a part of one.
                self.is_direct = False
                if fcntl(self.fd, F_SETFL, 0) != 0:     # O_DSYNC stays
                    return errno
            elif errno != EINTR:
                return errno
        return 0

    cdef int advance(self, size_t size) except -1:
        cdef size_t end = self.position % BLOCK_BYTES + size
        cdef size_t kept = end % BLOCK_BYTES
        if end > self.buffer_bytes:
            raise ValueError("more than was reserved")
        memmove(self.buffer, self.buffer + (end - kept), kept)
        self.position += size
        if self.buffer_bytes > BUFFER_BYTES_KEPT:
            with suppress(MemoryError):
                self.resize(BLOCK_BYTES)
        return 0
