# cython: language_level=3
"""See `log_tail.pxd`."""

import os
from contextlib import suppress

from cpython.bytes cimport PyBytes_AS_STRING
from libc.errno cimport EINTR, EINVAL, EOPNOTSUPP, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset
from posix.fcntl cimport F_SETFL, fcntl
from posix.stdlib cimport posix_memalign
from posix.types cimport off_t

cdef extern from "<unistd.h>" nogil:
    ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
    int close(int fd)
    long syscall(long number, ...)

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_io_setup, SYS_io_destroy, SYS_io_submit, SYS_io_getevents

cdef extern from "<linux/aio_abi.h>" nogil:
    int IOCB_CMD_PWRITE
    struct iocb:
        uint16_t aio_lio_opcode
        uint32_t aio_fildes
        uint64_t aio_buf
        uint64_t aio_nbytes
        int64_t aio_offset
    struct io_event:
        int64_t res

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
        if self.context:
            syscall(SYS_io_destroy, self.context)
        free(self.buffer)

    cdef void close(self) noexcept:
        if self.is_under_way:
            self.wait()                # the kernel still reads the buffer
        self.started = 0
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
        self.start(size)
        return self.finish()

    cdef int write_synchronously(self, size_t size) noexcept nogil:
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
                if self.do_without() != 0:
                    return errno
            elif errno != EINTR:
                return errno
        return 0

    cdef int do_without(self) noexcept nogil:
        """Write no more directly. No failure: this disk has larger blocks, or a short write has
        left a part of one.
        """
        self.is_direct = False
        return fcntl(self.fd, F_SETFL, 0)               # O_DSYNC stays

    cdef void start(self, size_t size) noexcept nogil:
        cdef size_t kept = self.position % BLOCK_BYTES
        cdef iocb request
        cdef iocb *requests = &request
        self.started = size
        if not self.is_direct or kept + size > self.buffer_bytes or not self.has_context():
            return
        memset(self.buffer + kept + size, 0, whole_blocks(kept + size) - kept - size)
        memset(&request, 0, sizeof(request))
        request.aio_lio_opcode = <uint16_t>IOCB_CMD_PWRITE
        request.aio_fildes = <uint32_t>self.fd
        request.aio_buf = <uint64_t><size_t>self.buffer
        request.aio_nbytes = whole_blocks(kept + size)
        request.aio_offset = <int64_t>(self.position - kept)
        self.is_under_way = syscall(SYS_io_submit, self.context, <long>1, &requests) == 1

    cdef bint has_context(self) noexcept nogil:
        if self.context == 0 and not self.lacks_context:
            self.lacks_context = syscall(SYS_io_setup, <long>1, &self.context) != 0
        return self.context != 0

    cdef ssize_t wait(self) noexcept nogil:
        """Wait for the kernel: how much it has written, or a negative errno."""
        cdef io_event event
        cdef long ended = -1
        while ended < 0:
            ended = syscall(SYS_io_getevents, self.context, <long>1, <long>1, &event, NULL)
            if ended < 0 and errno != EINTR:
                return -errno
        self.is_under_way = False
        return <ssize_t>event.res

    cdef int finish(self) noexcept nogil:
        cdef size_t size = self.started
        cdef size_t kept = self.position % BLOCK_BYTES
        cdef ssize_t written = 0
        if self.is_under_way:
            written = self.wait()
        self.started = 0
        if written == <ssize_t>whole_blocks(kept + size):
            return 0
        if written == -EINVAL or written == -EOPNOTSUPP:
            if self.do_without() != 0:
                return errno
        elif written < 0:
            return <int>-written
        return self.write_synchronously(size)     # all: it was not begun, or cut short, or refused

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
