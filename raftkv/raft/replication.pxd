# Types for the compiled `replication.py`.

import cython

from raftkv.raft.log cimport RaftLog
from raftkv.raft.messages cimport Message
from raftkv.raft.progress cimport Progress
from raftkv.raft.state cimport RaftState

@cython.locals(log=RaftLog)
cpdef bint wants_append(RaftState state, Progress progress) except -1
cpdef bint lacks_commit(RaftState state, Progress progress) except -1
@cython.locals(progress=Progress)
cpdef send_appends(RaftState state)
@cython.locals(log=RaftLog, start=cython.longlong, size=cython.longlong, entries=tuple)
cpdef _send_append(RaftState state, unsigned long long member, Progress progress, dict slices)
@cython.locals(progress=Progress)
cpdef handle_append_response(RaftState state, Message message)
cpdef bint maybe_commit(RaftState state) except -1
cpdef bint has_committed_in_term(RaftState state) except -1
@cython.locals(progress=Progress)
cpdef maybe_hand_over(RaftState state)
@cython.locals(log=RaftLog, last_new=cython.longlong, replaced=cython.longlong,
               answers=cython.bint)
cpdef handle_append(RaftState state, Message message)
cpdef take_next(RaftState state, Message message)
