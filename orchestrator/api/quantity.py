"""Resource quantities: `100m`, `1.5Gi`, `2e3`; exact arithmetic and the canonical form.

Source: apimachinery's `resource.Quantity`. Values are exact fractions; a quantity finer than a
nano-unit is rounded up, as there.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

_QUANTITY_RE = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+))(?:(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)|([eE][+-]?\d{1,2}))?"
)
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}

ERROR = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)


class QuantityError(ValueError):
    """The text is not a quantity."""

    def __init__(self) -> None:
        super().__init__(ERROR)


@lru_cache(maxsize=4096)
def parse(text: str | int | float) -> Fraction:
    """Return the exact value; QuantityError for anything that is not a quantity."""
    return _parse(str(text))[0]


def _parse(text: str) -> tuple[Fraction, str]:
    """Return the value and its format: "binary", "decimal" or "exponent"."""
    match = _QUANTITY_RE.fullmatch(text)
    if match is None:
        raise QuantityError
    digits, suffix, exponent = match.groups()
    value = Fraction(Decimal(digits))
    form = "decimal"
    if suffix in _BINARY:
        value *= 1024 ** _BINARY[suffix]
        form = "binary"
    elif exponent:
        value *= Fraction(10) ** int(exponent[1:])
        form = "exponent"
    elif suffix:
        value *= Fraction(10) ** _DECIMAL[suffix]
    nanos = value * 10**9
    if nanos.denominator != 1:
        up = -(-nanos.numerator // nanos.denominator) if nanos > 0 else nanos // 1
        value = Fraction(up, 10**9)
    return value, form


@lru_cache(maxsize=4096)
def canonical(text: str | int | float) -> str:
    """Return the form that Go writes: no fraction, the largest suffix that keeps it exact.

    `0.5` -> `500m`, `1024Mi` -> `1Gi`, `1000` -> `1k`; a binary suffix is kept only above 1024.
    """
    value, form = _parse(str(text))
    return render(value, form)


def render(value: Fraction, form: str = "decimal") -> str:
    """Write an exact value in the canonical form of `form`: binary, decimal or exponent."""
    if form == "binary" and value.denominator == 1 and abs(value) >= 1024:
        return _render_binary(value.numerator)
    if value == 0:
        return "0"
    exponent = -9
    scaled = value * 10**9
    number = scaled.numerator // scaled.denominator
    while number % 1000 == 0 and exponent < 18:
        number //= 1000
        exponent += 3
    if form == "exponent":
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_DECIMAL_SUFFIX[exponent]}"


def _render_binary(number: int) -> str:
    power = 0
    while number % 1024 == 0 and power < 6:
        number //= 1024
        power += 1
    return f"{number}{ {power: suffix for suffix, power in _BINARY.items()}.get(power, '') }"


def compare(left: str, right: str) -> int:
    """Return -1, 0 or 1."""
    a, b = parse(left), parse(right)
    return (a > b) - (a < b)


def milli_value(text: str | int | float) -> int:
    """The value in thousandths, rounded up: processor shares."""
    return _ceil(parse(text) * 1000)


def value(text: str | int | float) -> int:
    """The value in whole units, rounded up: bytes, counts."""
    return _ceil(parse(text))


def _ceil(number: Fraction) -> int:
    return -(-number.numerator // number.denominator)
