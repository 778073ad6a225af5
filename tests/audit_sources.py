"""Code bases in memory for the tests of the audit, and short words for what was found in them."""

from collections.abc import Mapping

from ansible.module_utils.rollout.audit.chain import (
    Chain,
    Dynamic,
    Filter,
    Group,
    Known,
    Literal,
    Parameter,
    Value,
)
from ansible.module_utils.rollout.audit.extraction import Audit, audit

CLIENT = "const { createClient } = require('@supabase/supabase-js');\nconst db = createClient(url, key);\n"


class Files:
    """A source of files that are nowhere on disk; bytes that are an OSError cannot be read."""

    name = "files"
    commit = ""

    def __init__(self, contents: Mapping[str, str | bytes | OSError]) -> None:
        self._contents = contents

    def files(self) -> list[str]:
        return sorted(self._contents)

    def left_out(self) -> list[tuple[str, str]]:
        return []

    def read(self, path: str) -> bytes:
        content = self._contents[path]
        if isinstance(content, OSError):
            raise content
        return content.encode() if isinstance(content, str) else content


def look(contents: Mapping[str, str | bytes | OSError] | str, *entry_points: str) -> Audit:
    """Audit files, or one file named a.js."""
    return audit(Files({"a.js": contents} if isinstance(contents, str) else contents), entry_points)


def only(contents: Mapping[str, str | bytes | OSError] | str) -> Chain:
    """The one chain of a code base."""
    (chain,) = look(contents).chains
    return chain


def table(chain: Chain) -> str:
    """A table's name, or the values it can have in parentheses."""
    if isinstance(chain.table, Known):
        return chain.table.value
    return f"({', '.join(chain.table.values)})"


def said(item: Filter | Group) -> str:
    """A filter in PostgREST's words."""
    mark = "?" if item.conditional else ""
    negation = "not." if item.negated else ""
    if isinstance(item, Group):
        return f"{negation}{item.operator}({','.join(said(member) for member in item.members)}){mark}"
    name = "<dynamic>" if isinstance(item.column, Dynamic) else item.column.value
    return f"{name}.{negation}{item.operator}.{shown(item.value)}{mark}"


def shown(value: Value) -> str:
    """A literal as Python writes it, a parameter with a dollar."""
    if isinstance(value, Literal):
        return repr(value.value)
    return f"${value.name}" if isinstance(value, Parameter) else "<dynamic>"


def filters(chain: Chain) -> list[str]:
    return [said(item) for item in chain.filters]


def selected(chain: Chain) -> list[str]:
    assert chain.select is not None
    return [column.name for column in chain.select.columns]


def written(chain: Chain) -> list[str]:
    """Keys of the payload, those that are not always there with a question mark."""
    assert chain.payload is not None
    return [column.name + "?" * column.conditional for column in chain.payload.columns]


def modifiers(chain: Chain) -> list[str]:
    return [f"{item.name}({', '.join(shown(value) for value in item.arguments)})" for item in chain.modifiers]


def reasons(found: Audit) -> list[str]:
    """What was no call, as ``line kind: reason``."""
    return [f"{item.line} {item.kind}: {item.reason}" for item in found.sightings]
