"""Go's spellings of strings, durations and sizes, which etcdctl prints and reads."""

from __future__ import annotations

import math

_ESCAPES = {7: "a", 8: "b", 12: "f", 10: "n", 13: "r", 9: "t", 11: "v", 92: "\\", 34: '"'}
_UNESCAPES = {name: code for code, name in _ESCAPES.items()}


class QuoteError(ValueError):
    """The text is no quoted Go string."""


def quoted(raw: bytes) -> str:
    r"""Write bytes as Go's %q does: "a\x01\xff\"", with printable UTF-8 as it is."""
    parts: list[str] = []
    for character in raw.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if code in _ESCAPES:
            parts.append("\\" + _ESCAPES[code])
        elif 0xDC80 <= code <= 0xDCFF:
            parts.append(f"\\x{code - 0xDC00:02x}")
        elif character.isprintable():
            parts.append(character)
        elif code < 0x80:
            parts.append(f"\\x{code:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f'"{"".join(parts)}"'


def unquoted(text: str) -> tuple[bytes, str]:
    """Read a quoted Go string at the start of `text`; return its bytes and what follows.

    A backquoted string is taken as it is. Raises QuoteError.
    """
    if text.startswith("`"):
        end = text.find("`", 1)
        if end < 0:
            raise QuoteError(f"unterminated string: {text}")
        return text[1:end].encode("utf-8", "surrogateescape"), text[end + 1 :]
    if not text.startswith('"'):
        raise QuoteError(f"expected a quoted string: {text}")
    raw = bytearray()
    at = 1
    while at < len(text):
        character = text[at]
        if character == '"':
            return bytes(raw), text[at + 1 :]
        if character != "\\":
            raw += character.encode("utf-8", "surrogateescape")
            at += 1
            continue
        piece, at = _escape(text, at + 1)
        raw += piece
    raise QuoteError(f"unterminated string: {text}")


def _escape(text: str, at: int) -> tuple[bytes, int]:
    """Read the escape whose letter is at `at`; return its bytes and the position behind it."""
    kind = text[at : at + 1]
    if kind in _UNESCAPES:
        return bytes([_UNESCAPES[kind]]), at + 1
    digits = {"x": 2, "u": 4, "U": 8}.get(kind, 0)
    try:
        if digits:
            code = int(text[at + 1 : at + 1 + digits], 16)
            raw = bytes([code]) if kind == "x" else chr(code).encode()
            return raw, at + 1 + digits
        return bytes([int(text[at : at + 3], 8)]), at + 3
    except ValueError:
        raise QuoteError(f"bad escape in: {text}") from None


def hexadecimal(raw: bytes) -> str:
    r"""Write bytes as --hex does: \x61\x62."""
    return "".join(f"\\x{byte:02x}" for byte in raw)


def duration(nanoseconds: int) -> str:
    """Write a duration as Go prints it: 2.430428ms, 1.5s, 1m0.25s."""
    if nanoseconds < 1_000:
        return f"{nanoseconds}ns"
    if nanoseconds < 1_000_000:
        return f"{_trimmed(nanoseconds, 1_000)}µs"
    if nanoseconds < 1_000_000_000:
        return f"{_trimmed(nanoseconds, 1_000_000)}ms"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    seconds = f"{_trimmed(rest, 1_000_000_000)}s"
    if minutes == 0:
        return seconds
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}" if hours else f"{minutes}m{seconds}"


def _trimmed(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    if rest == 0:
        return str(whole)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0")


def size(count: int) -> str:
    """Write a number of bytes as etcdctl does: 20 kB, 1.5 MB (powers of 1,000)."""
    if count < 10:
        return f"{count} B"
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    power = min(int(math.log(count, 1000) + 1e-12), len(units) - 1)
    value = math.floor(count / 1000**power * 10 + 0.5) / 10
    return f"{value:.1f} {units[power]}" if value < 10 else f"{value:.0f} {units[power]}"
