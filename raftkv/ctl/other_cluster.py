"""The second cluster of verbs that have two: its endpoints and its TLS files."""

from __future__ import annotations

from getpass import getpass

from raftkv.client import Client, Credentials, User
from raftkv.ctl.command import Context
from raftkv.ctl.errors import CommandError, ExitCode, bad_arguments
from raftkv.ctl.flag_set import Flag, Flags

__all__ = ["flags_of", "other_client"]


def flags_of(role: str, cluster: str) -> tuple[Flag, ...]:
    """Return the flags of a cluster: `--<role>-cacert` and so on."""
    return (
        Flag(f"{role}-cacert", "", f"file with the CA bundle to verify {cluster} with"),
        Flag(f"{role}-cert", "", f"file with the certificate that identifies us to {cluster}"),
        Flag(f"{role}-key", "", "file with that certificate's key"),
        Flag(f"{role}-insecure-transport", True, "accepted for etcdctl's sake"),
        Flag(f"{role}-user", "", f"username[:password] for {cluster} (asks for what is missing)"),
        Flag(f"{role}-password", "", f"password; --{role}-user then is the name alone"),
    )


def other_client(context: Context, flags: Flags, role: str, endpoints: str) -> Client:
    """Open a client of the other cluster; use it in `async with`."""
    names = tuple(name.strip() for name in endpoints.split(",") if name.strip())
    ca, certificate, key = (_content(flags, f"{role}-{name}") for name in ("cacert", "cert", "key"))
    if (certificate is None) != (key is None):
        raise bad_arguments(f"--{role}-cert and --{role}-key go together")
    if certificate is not None and ca is None:
        raise bad_arguments(f"--{role}-cert needs --{role}-cacert")
    if ca is not None:
        names = tuple(name if "://" in name else f"https://{name}" for name in names)
    credentials = None if ca is None else Credentials(ca, certificate, key)
    try:
        return Client(
            names,
            credentials=credentials,
            user=_user(flags, role),
            timeout_s=context.flags.seconds("command-timeout"),
        )
    except ValueError as error:
        raise bad_arguments(str(error)) from error


def _user(flags: Flags, role: str) -> User | None:
    name, password = flags.text(f"{role}-user"), flags.text(f"{role}-password")
    if not name:
        return None
    if not password:
        name, colon, password = name.partition(":")
        if not colon:
            password = getpass(f"Password of {name}: ")
    return User(name, password)


def _content(flags: Flags, flag: str) -> bytes | None:
    path = flags.text(flag)
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CommandError(ExitCode.IO, f"--{flag}: {error}") from error
