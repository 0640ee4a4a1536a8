"""What a verb of raftctl is, and what it is given to work with."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from getpass import getpass

from raftkv.client import Client, Credentials, User
from raftkv.ctl.errors import CommandError, ExitCode
from raftkv.ctl.flag_set import Flag, Flags, Line

FORMATS = ("simple", "json", "fields", "table", "protobuf")

NO_DISCOVERY = "is not supported: name the members with --endpoints"

GLOBAL_FLAGS = (
    Flag("endpoints", "127.0.0.1:2379", "members to talk to, separated by commas", adds_up=True),
    Flag("write-out", "", f"output format: {', '.join(FORMATS)}", "w"),
    Flag("hex", False, "print byte strings as hex encoded strings"),
    Flag("command-timeout", 5.0, "time for a short command to end, such as 500ms or 10s"),
    Flag("dial-timeout", 2.0, "accepted for etcdctl's sake; --command-timeout bounds all"),
    Flag("keepalive-time", 2.0, "accepted for etcdctl's sake"),
    Flag("keepalive-timeout", 6.0, "accepted for etcdctl's sake"),
    Flag("cacert", "", "file with the CA bundle to verify the servers' certificates with"),
    Flag("cert", "", "file with the certificate that identifies this client"),
    Flag("key", "", "file with that certificate's key"),
    Flag("insecure-transport", True, "accepted for etcdctl's sake; the scheme decides"),
    Flag("insecure-skip-tls-verify", False, "take any certificate that a server shows"),
    Flag("debug", False, "accepted for etcdctl's sake"),
    Flag("user", "", "username[:password] for authentication (asks for what is missing)"),
    Flag("password", "", "password for authentication; --user then is the name alone"),
    Flag("auth-jwt-token", "", "JWT for authentication, instead of --user"),
    Flag("discovery-srv", "", "domain to look up endpoints in", "d", refused=NO_DISCOVERY),
    Flag("discovery-srv-name", "", "service name of that look-up", refused=NO_DISCOVERY),
    Flag("insecure-discovery", True, "accepted for etcdctl's sake"),
    Flag("help", False, "describe the command", "h"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """One verb: how it is called and what carries it out."""

    path: tuple[str, ...]
    """Such as ("lease", "grant")."""
    usage: str
    """The arguments, such as "<key> [range_end]"."""
    summary: str
    run: Callable[[Context, Line], Awaitable[None]]
    description: str = ""
    flags: tuple[Flag, ...] = ()


@dataclass(slots=True)
class Context:
    """The settings of one invocation; opens the connection that the verb asks for."""

    flags: Flags
    is_terminal: bool = field(default_factory=sys.stdout.isatty)

    @property
    def endpoints(self) -> tuple[str, ...]:
        names = (name.strip() for name in self.flags.text("endpoints").split(","))
        return tuple(name for name in names if name)

    @property
    def hex(self) -> bool:
        return self.flags.switch("hex")

    def format(
        self, table_on_terminal: bool = False, refused: tuple[str, ...] = ("protobuf",)
    ) -> str:
        """The output format: what -w says; else a table for people where the verb has one.

        `refused` are the formats that the verb does not have.
        """
        asked = self.flags.text("write-out")
        if asked and asked not in FORMATS:
            raise CommandError(
                ExitCode.BAD_FEATURE,
                "unsupported output format",
                f"Choose of {', '.join(FORMATS)}.",
            )
        if asked in refused:
            others = [one for one in FORMATS if one not in refused]
            raise CommandError(
                ExitCode.BAD_FEATURE,
                f"{asked} not supported as output format",
                f"Choose {' or '.join(others)} for this command.",
            )
        if not asked:
            return "table" if table_on_terminal and self.is_terminal else "simple"
        return asked

    def client(self, endpoints: tuple[str, ...] | None = None) -> Client:
        """Open a client; use it in `async with`."""
        names = self.endpoints if endpoints is None else endpoints
        if self._credentials() is not None:
            names = tuple(name if "://" in name else f"https://{name}" for name in names)
        try:
            return Client(
                names,
                credentials=self._credentials(),
                user=self._user(),
                token=self.flags.text("auth-jwt-token"),
                timeout_s=self.flags.seconds("command-timeout"),
            )
        except ValueError as error:
            raise CommandError(ExitCode.BAD_ARGUMENTS, str(error)) from error

    def _user(self) -> User | None:
        """Whom to authenticate as; asks for a password that was not given."""
        name, password = self.flags.text("user"), self.flags.text("password")
        if not name:
            return None
        if self.flags.text("auth-jwt-token"):
            raise CommandError(
                ExitCode.BAD_ARGUMENTS, "--user and --auth-jwt-token exclude each other"
            )
        if not password:
            name, colon, password = name.partition(":")
            if not colon:
                password = getpass("Password: ")
        return User(name, password)

    def _credentials(self) -> Credentials | None:
        def content(flag: str) -> bytes | None:
            path = self.flags.text(flag)
            if not path:
                return None
            try:
                with open(path, "rb") as file:
                    return file.read()
            except OSError as error:
                raise CommandError(ExitCode.IO, f"--{flag}: {error}") from error

        ca, certificate, key = content("cacert"), content("cert"), content("key")
        if (certificate is None) != (key is None):
            raise CommandError(ExitCode.BAD_ARGUMENTS, "--cert and --key go together")
        skip = self.flags.switch("insecure-skip-tls-verify")
        if ca is None and certificate is None and not skip:
            return None
        return Credentials(ca, certificate, key, skip)
