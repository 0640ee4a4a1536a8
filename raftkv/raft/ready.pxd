# Types for the compiled `ready.py`.

from raftkv.raft.messages cimport HardState, Value

cdef class PersistWork(Value):
    cdef public HardState hard_state
    cdef public tuple entries

cdef class ReadState(Value):
    cdef public unsigned long long context
    cdef public long long index

cdef class SoftState(Value):
    cdef public unsigned long long leader_id
    cdef public object role
    cdef public long long term

cdef class Ready(Value):
    cdef public PersistWork persist
    cdef public tuple messages, committed_entries, read_states
    cdef public SoftState soft_state
    cdef public object snapshot
