"""C surface of the Raft log: the store's fields."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from raftkv._native.log_frame cimport Frame, FrameReader
from raftkv._native.log_index cimport LogIndex, Place
from raftkv._native.log_tail cimport LogTail

cdef class LogStore:
    cdef readonly str path
    cdef object directory          # LogDirectory; None once closed
    cdef object metadata           # dict of name -> bytes
    cdef object failure            # the first error of a write; nothing is written after it
    cdef LogIndex index            # entries above the base
    cdef LogTail tail              # of the segment that is written: where its next frame goes
    cdef uint64_t segment_bytes    # size of a segment once the log has grown
    cdef uint64_t sequence         # of the segment that is written
    cdef uint64_t oldest           # of the oldest segment that is there
    cdef uint64_t capacity         # bytes of the segment that is written
    cdef bint is_closed_properly   # the last frame is a FRAME_CLOSE
    cdef Frame state               # generation, base and hard state as of the last frame
    cdef Frame begun               # what `begin_append` has begun to write, ...
    cdef uint8_t *begun_at         # ... and where it was put together; NULL: nothing
    cdef uint64_t last             # last index stored; the base index when none is
    cdef int read_fd               # of the segment that was read last; -1: none
    cdef uint64_t read_sequence

    cdef int check_open(self) except -1
    cdef int check_writable(self) except -1
    cdef int check_written(self, str operation, int code) except -1
    cdef int fail_with(self, str operation, object error) except -1
    cdef uint8_t *reserve(self, uint64_t size) except NULL
    cdef uint8_t *put_together(self, object entries, object hard_state, Frame *frame) except NULL
    cdef int write(self, str operation, uint8_t *frame_at, Frame *frame) except -1
    cdef int seal(self, uint8_t *frame_at, Frame *frame) except -1
    cdef int take_in(self, const uint8_t *frame_at, const Frame *frame) except -1
    cdef int begin_segment(self, uint64_t needed) except -1
    cdef int drop_segments(self) except -1
    cdef int open_segments(self) except -1
    cdef int replay(self, uint64_t sequence, bint is_last, object following) except -1
    cdef int go_on(self, FrameReader reader, uint64_t last, uint64_t end) except -1
    cdef int note(self, const Frame *frame) except -1
    cdef object read_entry(self, uint64_t index, const Place *place, list window, Py_ssize_t ahead)
    cdef int descriptor_of(self, uint32_t sequence) except -1
    cdef uint64_t last_term(self) except? 0
    cdef int write_state(self, str operation, uint64_t base_index, uint64_t base_term,
                         object hard_state, uint32_t flags) except -1
