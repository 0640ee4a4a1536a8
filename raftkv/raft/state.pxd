# Types for the compiled `state.py`.

import cython

from raftkv.raft.log cimport RaftLog
from raftkv.raft.messages cimport Entry, Message
from raftkv.raft.read_index cimport ReadQueue

cdef class RaftState:
    cdef public unsigned long long id, leader_id, transferee, vote
    cdef public long long term, applied_index, configuration_index, pending_change_index
    cdef public long long appended_bytes, catch_up_bytes, uncommitted_bytes, damaged_appends
    cdef public long election_elapsed, heartbeat_elapsed, randomized_timeout
    cdef public bint campaign_when_applied, hold_commit
    cdef public object config, configuration, pending_snapshot, random, role, uncommitted
    cdef public list after_persist, outbox, read_states
    cdef public dict peers, votes
    cdef public RaftLog log
    cdef public ReadQueue reads

    cpdef bint in_lease(self) except -1
    @cython.locals(entry=Entry)
    cpdef append_own(self, bytes data, kind)
    @cython.locals(answer=Message, last=Message)
    cpdef acknowledge(self, unsigned long long leader, long long index)
    cpdef commit_to(self, long long index)
