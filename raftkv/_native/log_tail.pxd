"""Where the log is written: behind the last frame of its newest segment.

Writes are direct, past the page cache, in whole blocks: a sync has nothing to look for there, and a
disk that can do so (FUA) makes one of write and sync. The last block is mostly a part of one; it is
kept here, and the next write has the same bytes in the same place again, with more behind them and
zeros to the end. A reader gets a block from the page cache, which the kernel drops before and after
each direct write to it; what it was told of is the same before, while and after.

Where the file system refuses, writes go through the page cache, each byte once.

A direct write is asynchronous to the kernel: whoever writes may do something else meanwhile, and
where members share a disk and processors, one who just waits for it has it sooner, too. There is
one at a time.
"""

from libc.stdint cimport uint8_t, uint64_t

cdef extern from "<linux/aio_abi.h>" nogil:
    ctypedef unsigned long aio_context_t

cdef enum:
    BLOCK_BYTES = 4096             # a multiple of the logical block of all usual disks

cdef class LogTail:
    cdef int fd                    # of the segment: O_DSYNC; -1: none
    cdef bint is_direct
    cdef uint64_t position         # where the next write begins
    cdef uint8_t *buffer           # aligned; the file's bytes from the block of `position` on
    cdef size_t buffer_bytes       # whole blocks
    cdef aio_context_t context     # of asynchronous writes; 0: none, or not to be had
    cdef bint lacks_context        # the kernel gave none: not asked again
    cdef size_t started            # what `start` was asked to write and `finish` was not yet
    cdef bint is_under_way         # the kernel writes it

    # Go on in this file at `position`. Writes are direct where the file system allows that and the
    # file, `capacity` bytes long, ends with a block. OSError where it cannot be opened or read,
    # EOFError where it ends before `position`.
    cdef int begin(self, path, uint64_t position, uint64_t capacity) except -1

    # Where the next `size` bytes are put together; good until the next call. MemoryError.
    cdef uint8_t *reserve(self, size_t size) except NULL

    # Write `size` bytes, no more than were reserved, and sync: 0 or an errno. After one nothing is
    # known of what is behind `position` on disk; what is before it is as it was.
    cdef int write(self, size_t size) noexcept nogil

    # Begin what `write` does, and return at once where the kernel can do it meanwhile; else it is
    # left for `finish`. Nothing else may be called between the two but `close`.
    cdef void start(self, size_t size) noexcept nogil

    # Wait for the end of what was started: 0 or an errno, as `write`.
    cdef int finish(self) noexcept nogil

    # Go on behind `size` bytes that were written, and give back what a large write has needed.
    cdef int advance(self, size_t size) except -1

    # `write` without asynchronous I/O.
    cdef int write_synchronously(self, size_t size) noexcept nogil

    cdef int resize(self, size_t size) except -1
    cdef int do_without(self) noexcept nogil
    cdef bint has_context(self) noexcept nogil
    cdef ssize_t wait(self) noexcept nogil

    # Close the file, after the end of what was started. Idempotent.
    cdef void close(self) noexcept
