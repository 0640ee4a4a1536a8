"""The short ways of KV's requests, from a frame to the member without a Python function.

A path is a unary handler for requests that nothing is special about, on a member that serves
whoever asks. It leaves all others to `slow_handle`, the plain twin, which answers everything, and
equally.
"""

__all__ = ["KvPath"]


cdef class KvPath:
    """What all paths ask of their member."""

    def __init__(self, member, slow_handle):
        self.node = member.node
        self.auth = member.auth
        self.alarms = member.cluster.alarms
        self.member_id = member.node.id
        self.slow_handle = slow_handle

    cdef bint is_open(self) except -1:
        """Whether this member serves whoever asks."""
        cdef object configuration
        if self.auth.stamp is not None or self.alarms.is_corrupt or not self.node.leader_id:
            return False
        configuration = self.node.configuration
        if configuration is not self.configuration:
            self.votes = self.member_id in configuration.all_voters
            self.configuration = configuration
        return self.votes
