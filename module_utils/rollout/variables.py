"""Typed variables of a migration: checked before anything else happens, rendered as SQL that cannot be broken out of.

A template never sees the raw value from the inventory. It sees one of the types below, each of which knows how it is
written in SQL; the template environment refuses to print anything else (:func:`to_sql`).
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import SCHEMA_PLACEHOLDER

#: PostgreSQL truncates longer identifiers silently (NAMEDATALEN - 1).
IDENTIFIER_BYTES = 63

# No dollar sign: the schema's name is put into function bodies, and two of them would end a body quoted with $$.
_FORBIDDEN_IN_IDENTIFIER = re.compile(r"[^\w -]")
_FORBIDDEN_IN_TEXT = re.compile(r"['\"\\$%{};]|--|/\*|\*/|" + re.escape(SCHEMA_PLACEHOLDER))
# Files beside the IANA database's own zones on many systems; what they mean differs from host to host.
_LOCAL_ZONES = re.compile(r"localtime|posixrules|Factory|(posix|right)/.*")


class SqlValue(Protocol):
    """Something that knows its own form in SQL."""

    def sql(self) -> str: ...


@dataclass(frozen=True)
class Identifier:
    """A name, always written in double quotes so that no reserved word or capital letter changes its meaning."""

    name: str

    def sql(self) -> str:
        return '"' + self.name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Literal:
    """A text constant."""

    text: str

    def sql(self) -> str:
        return "'" + self.text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Instant:
    """The first moment of a month in a named zone, with the zone inside the literal.

    The session's ``TimeZone`` therefore has no part in it: a bare DATE literal as partition bound moves with it.
    """

    month: Month
    zone: Literal

    def sql(self) -> str:
        return f"timestamptz '{self.month.text}-01 00:00:00 {self.zone.text}'"


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month. ``month + 1`` is the next one; ``month.next(6)`` are six, beginning with itself."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read ``YYYY-MM``.

        :raises ValueError: for anything else, or a year outside 1970 to 9000
        """
        found = re.fullmatch(r"(\d{4})-(\d{2})", text, re.ASCII)
        if not found or not 1 <= int(found[2]) <= 12 or not 1970 <= int(found[1]) <= 9000:
            raise ValueError("must be a month written as YYYY-MM, for example 2025-11")
        return cls(int(found[1]), int(found[2]))

    def __add__(self, months: int) -> Month:
        total = self.year * 12 + self.number - 1 + months
        return Month(total // 12, total % 12 + 1)

    def next(self, count: int) -> list[Month]:
        return [self + step for step in range(count)]

    def at(self, zone: Literal) -> Instant:
        return Instant(self, zone)

    @property
    def text(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"

    @property
    def suffix(self) -> str:
        return f"{self.year:04d}_{self.number:02d}"

    def sql(self) -> str:
        return f"'{self.text}-01'"


def check_identifier(value: object) -> Identifier:
    """Accept a name that is safe to quote, and safe to put in place of the schema's placeholder.

    :raises ValueError: empty, too long, or with a character that a name here may not have
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a name, and not empty")
    if value != value.strip() or value[0].isdigit() or _FORBIDDEN_IN_IDENTIFIER.search(value):
        raise ValueError("may hold letters, digits, '_', '-' and inner spaces, and not begin with a digit")
    if len(value.encode()) > IDENTIFIER_BYTES:
        raise ValueError(f"has {len(value.encode())} bytes; PostgreSQL would cut it after {IDENTIFIER_BYTES}")
    if value.lower().startswith("pg_"):
        raise ValueError("must not begin with pg_: PostgreSQL keeps those names for itself")
    return Identifier(value)


def check_integer(value: object, minimum: int, maximum: int) -> int:
    """Accept a whole number, also as text (``-e`` passes text), within bounds.

    :raises ValueError: not a whole number, or out of bounds
    """
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    if not minimum <= value <= maximum:
        raise ValueError(f"must lie between {minimum} and {maximum}")
    return value


def check_boolean(value: object) -> bool:
    """Accept true and false, also as text.

    :raises ValueError: anything else
    """
    words = {"true": True, "yes": True, "false": False, "no": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def check_timezone(value: object) -> Literal:
    """Accept the name of a zone of the IANA database, such as ``UTC`` or ``Europe/Moscow``.

    :raises ValueError: unknown zone, one that means something else on another host, or an offset such as ``UTC+3``,
        which PostgreSQL reads with the opposite sign
    """
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+/-]{1,62}", value):
        raise ValueError("must be the name of a time zone, for example UTC or Europe/Moscow")
    try:
        zoneinfo.ZoneInfo(value)
        known = not _LOCAL_ZONES.fullmatch(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a region, such as "Europe"
        known = False
    if not known:
        raise ValueError("is not a time zone of the IANA database (for example UTC or Europe/Moscow)")
    return Literal(value)


def check_text(value: object) -> Literal:
    """Accept plain text without any character that could end a literal or a dollar-quoted body.

    :raises ValueError: empty, or with a quote, backslash, dollar, percent, brace, semicolon or comment, or with
        anything that is not printed: control, formatting and private characters, spaces other than the plain one
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text, and not empty")
    found = _FORBIDDEN_IN_TEXT.search(value)
    if found:
        raise ValueError(f"must not hold {found[0]!r}")
    hidden = next((character for character in value if not character.isprintable()), None)
    if hidden:
        raise ValueError(f"must not hold {hidden!a}")
    return Literal(value)


def check_month(value: object) -> Month:
    """Accept a month written as ``YYYY-MM``.

    :raises ValueError: anything else
    """
    if not isinstance(value, str):
        raise ValueError("must be a month written as YYYY-MM, for example 2025-11")
    return Month.parse(value)


@dataclass(frozen=True)
class Declaration:
    """How a migration declares one of its variables in ``migration.yml``."""

    name: str
    type: str
    default: Any = None
    minimum: int = 0
    maximum: int = 2**31 - 1

    def check(self, value: object) -> Any:
        """Turn the inventory's value into a typed one.

        :raises ValueError: the value does not fit the declared type
        """
        if self.type == "integer":
            return check_integer(value, self.minimum, self.maximum)
        return _CHECKS[self.type](value)


_CHECKS = {
    "identifier": check_identifier,
    "boolean": check_boolean,
    "timezone": check_timezone,
    "text": check_text,
    "month": check_month,
}
TYPES = sorted([*_CHECKS, "integer"])


def resolve(declarations: Iterable[Declaration], given: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Check all variables of a migration at once.

    :param declarations: what ``migration.yml`` declares
    :param given: the inventory's values by name
    :param place: where the operator sets them, for the error text
    :raises SourceError: naming every value that is missing or does not fit, not only the first
    """
    resolved: dict[str, Any] = {}
    wrong: list[str] = []
    for declaration in declarations:
        value = given.get(declaration.name, declaration.default)
        if value is None:
            why = "is null" if declaration.name in given else "has no value and no default"
            wrong.append(f"{declaration.name}: {why}")
            continue
        try:
            resolved[declaration.name] = declaration.check(value)
        except ValueError as error:
            wrong.append(f"{declaration.name}: {value!r} {error}")
    if wrong:
        raise SourceError(
            "these variables are not usable:\n  " + "\n  ".join(wrong),
            hint=f"Set them in {place}.",
            details={"variables": wrong},
        )
    return resolved


def to_sql(value: object) -> str:
    """Write a template's value as SQL; the only way from a value into the rendered text.

    :raises TypeError: for plain text, which must first say what it is (``| ident`` or ``| literal``)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # A space before the sign: after another minus it would begin a comment.
        return str(value) if value >= 0 else f" {value}"
    if isinstance(value, Identifier | Literal | Month | Instant):
        return value.sql()
    raise TypeError(
        f"a value of type {type(value).__name__} cannot be written into SQL as it is: pass it through "
        "the filter 'ident' (a name) or 'literal' (a text constant)"
    )


def as_ident(value: object) -> Identifier:
    """Template filter ``ident``: text becomes a quoted name.

    :raises TypeError: the text is no acceptable name
    """
    if isinstance(value, Identifier):
        return value
    try:
        return check_identifier(value)
    except ValueError as error:
        raise TypeError(f"ident: {value!r} {error}") from error


def as_literal(value: object) -> Literal:
    """Template filter ``literal``: text, a name or a number becomes a text constant.

    :raises TypeError: for values that have no plain text form
    """
    if isinstance(value, Identifier):
        return Literal(value.name)
    if isinstance(value, Month):
        return Literal(value.text)
    if isinstance(value, Literal):
        return value
    if isinstance(value, bool):
        return Literal("true" if value else "false")
    if isinstance(value, str | int):
        return Literal(str(value))
    raise TypeError(f"literal: a value of type {type(value).__name__} has no text form")


def to_json(value: Any) -> Any:
    """The value as the ledger and the run record keep it."""
    if isinstance(value, Identifier):
        return value.name
    if isinstance(value, Literal | Month):
        return value.text
    return value
