"""What members forward: their clients' batches to whoever leads, and the refusals back."""

from __future__ import annotations

import logging

from raftkv._native.command_batch import check_batch
from raftkv.errors import ErrorCode
from raftkv.peer.transport import PeerTransport
from raftkv.raft.errors import ProposalDropped
from raftkv.raft.node import RaftNode
from raftkv.raft.roles import LEADER
from raftkv.server import forwarding
from raftkv.server.auth_state import AuthState
from raftkv.server.commit_notice import CommitNotice
from raftkv.server.proposals import Proposals

__all__ = ["ForwardedProposals"]

log = logging.getLogger(__name__)


class ForwardedProposals:
    """The receiving side. Used from the loop only."""

    def __init__(
        self,
        node: RaftNode,
        transport: PeerTransport,
        proposals: Proposals,
        auth: AuthState,
        notice: CommitNotice,
    ) -> None:
        self._node = node
        self._transport = transport
        self._proposals = proposals
        self._auth = auth
        self._notice = notice

    def take(self, sender: int, data: bytes) -> bool:
        """Act on a message; a malformed one is logged and dropped. Says whether a turn is due."""
        try:
            message = forwarding.decode(data)
            if isinstance(message, forwarding.Propose):
                return self._propose(sender, message)
            if isinstance(message, forwarding.TokenUsed):
                self._auth.on_use(message.token_id, message.used_ms)
            else:
                self._proposals.refuse(message.batch_id, message.code)
        except ValueError as error:
            log.warning(
                "dropped a malformed message", extra={"peer": f"{sender:x}"}, exc_info=error
            )
        return False

    def _propose(self, sender: int, message: forwarding.Propose) -> bool:
        """Propose another member's batch, or tell it that this certainly did not happen."""
        batch_id = check_batch(message.batch)  # in the log, it would end every member
        code = ErrorCode.LEADER_CHANGED
        if message.term == self._node.term and self._node.role is LEADER:
            try:
                self._notice.proposed_for(sender, self._node.propose(message.batch))
            except ProposalDropped:
                code = ErrorCode.REQUEST_TOO_MANY_REQUESTS
            else:
                return True
        self._transport.forward(sender, forwarding.encode(forwarding.Refused(batch_id, code)))
        return False
