"""How a command fails: etcdctl's exit codes, and a sentence on what to do next."""

from __future__ import annotations

from enum import IntEnum

import grpc

from raftkv.client import ClientError, CompactedError, LeaseNotFoundError, UnavailableError


class ExitCode(IntEnum):
    """etcdctl's exit codes (`pkg/cobrautl/error.go`); scripts tell failures apart by them."""

    SUCCESS = 0
    ERROR = 1
    BAD_CONNECTION = 2
    INVALID_INPUT = 3
    BAD_FEATURE = 4
    INTERRUPTED = 5
    IO = 6
    BAD_ARGUMENTS = 128


class CommandError(Exception):
    """A command that cannot be carried out. `hint` says what to do about it, or is empty.

    An empty text is not printed.
    `code` is another's exit code where the command was to run another.
    """

    def __init__(self, code: ExitCode | int, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.hint = hint


def bad_arguments(text: str) -> CommandError:
    return CommandError(ExitCode.BAD_ARGUMENTS, text)


def told_already() -> CommandError:
    """Fail with nothing more to say: each failure was told as it happened."""
    return CommandError(ExitCode.ERROR, "")


NOT_AUTHENTICATED = "etcdserver: authentication failed, invalid user ID or password"
NO_USER = "etcdserver: user name is empty"


def explain(error: ClientError, endpoints: tuple[str, ...]) -> CommandError:
    """Turn what the server, or the way to it, answered into an error with advice."""
    code, text, hint = ExitCode.ERROR, error.message, ""
    match error:
        case _ if text == NOT_AUTHENTICATED:
            code = ExitCode.BAD_CONNECTION
            hint = "Name and password go as --user name:password."
        case _ if text == NO_USER:
            hint = "Authentication is on: say who you are with --user name:password."
        case UnavailableError(unsent=True):
            text = "context deadline exceeded"
            hint = (
                f"No member answered at {', '.join(endpoints)}. Is it running, and is the scheme "
                "right? Name the members with --endpoints or ETCDCTL_ENDPOINTS."
            )
        case CompactedError():
            hint = "Older revisions are gone; `raftctl get KEY -w fields` shows the current one."
        case LeaseNotFoundError():
            hint = "It expired or was revoked; `raftctl lease list` shows the leases that are left."
        case UnavailableError():
            hint = "The request may or may not have been applied; read before repeating a write."
        case _ if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
            text = "context deadline exceeded"
            hint = "No answer in time: is a leader elected? `raftctl endpoint status --cluster`"
        case _ if error.code is grpc.StatusCode.UNIMPLEMENTED:
            hint = (
                "The server does not have this yet; `raftctl version` and the server's may differ."
            )
    return CommandError(code, text, hint)
