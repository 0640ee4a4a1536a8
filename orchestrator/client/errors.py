"""What can go wrong on the way to the API server, apart from the answers it gives.

Answers of the server that are not a success are `orchestrator.api.errors.StatusError`.
"""


class ServerUnreachableError(Exception):
    """No answer came: connection refused, reset, timed out, or TLS failed. Worth a retry."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"the API server at {server} did not answer: {reason}")
        self.server = server
        self.reason = reason


class WatchLineTooLongError(Exception):
    """One watch event was larger than `WATCH_LINE_BYTES_MAX`; the stream is given up."""


class KubeconfigError(Exception):
    """The kubeconfig names something that is not there, or asks for what we do not support."""


class TerminalError(Exception):
    """Raised by a reconciler for what no retry can cure; logged, and the key is forgotten."""
