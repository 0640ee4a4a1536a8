# Types for the compiled `node.py`.

import cython

from raftkv.raft.log cimport RaftLog
from raftkv.raft.messages cimport Entry, Message
from raftkv.raft.progress cimport Progress
from raftkv.raft.ready cimport PersistWork, Ready, SoftState
from raftkv.raft.state cimport RaftState

cdef class RaftNode:
    cdef public RaftState _state
    cdef public bint _persisting
    cdef public list _persisting_messages
    cdef public object _installing
    cdef public long long _taken_term, _taken_commit
    cdef public unsigned long long _taken_vote
    cdef public SoftState _told

    @cython.locals(state=RaftState)
    cpdef propose(self, bytes data)
    @cython.locals(state=RaftState, waiting=cython.longlong, size=cython.longlong)
    cpdef _check_proposal(self, long long data_bytes)
    @cython.locals(state=RaftState)
    cpdef step(self, Message message)
    @cython.locals(state=RaftState)
    cpdef _step_term(self, Message message)
    @cython.locals(state=RaftState, log=RaftLog, last=cython.longlong, commit=cython.longlong,
                   entry=Entry)
    cpdef tuple next_append(self, Message message)
    @cython.locals(state=RaftState)
    cpdef appended(self, Message message)
    @cython.locals(state=RaftState)
    cpdef tuple commit_at_once(self, Message message)
    @cython.locals(state=RaftState, progress=Progress)
    cpdef bint has_ready(self) except -1
    @cython.locals(state=RaftState, told=SoftState)
    cpdef bint _has_news(self) except -1
    @cython.locals(state=RaftState)
    cpdef Ready ready(self)
    @cython.locals(state=RaftState)
    cpdef list persisted(self)
    @cython.locals(state=RaftState)
    cpdef applied(self, long long index)
    @cython.locals(state=RaftState)
    cpdef bint _must_persist(self) except -1
    @cython.locals(state=RaftState)
    cpdef bint _has_new_vote(self) except -1
    @cython.locals(state=RaftState)
    cpdef _take_snapshot(self)
    @cython.locals(state=RaftState)
    cpdef PersistWork _take_persist(self)
    @cython.locals(state=RaftState)
    cpdef _changed_hard_state(self, long long commit, bint always=*)
    @cython.locals(message=Message)
    cpdef list _deliver_own(self, list messages)
    @cython.locals(state=RaftState)
    cpdef bint _may_begin_reads(self) except -1
    @cython.locals(state=RaftState)
    cpdef _serve_reads(self)
