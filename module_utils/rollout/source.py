"""Migration folders: read, checked, rendered and parsed on the control node, before any connection.

A migration is a folder ``<id>_<name>/`` with ``migration.yml`` and ``*.sql.j2`` files, run in the order of their names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml
from ansible.module_utils.rollout import locks, statements, variables
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import SCHEMA_PLACEHOLDER, Migration, Statement
from ansible.module_utils.rollout.variables import Declaration, Identifier
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

#: A rendered file larger than this is data, not a migration.
MAX_FILE_BYTES = 16 * 1024 * 1024

#: Beside the migration and no part of it: what the success checklist tries it out with (checklist_samples_source.py).
SAMPLES = "samples.yml"
#: libyaml's, where PyYAML was built with it: eight times as fast with a thousand migrations.
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FOLDER = re.compile(r"(?P<id>[0-9]{4,})_(?P<name>[a-z0-9_]+)")
_KEYS = {
    "id": str,
    "description": str,
    "depends": list,
    "existing_tables": list,
    "locks": dict,
    "grows": list,
    "creates": dict,
    "drops": list,
    "variables": dict,
}
#: Names that have a meaning of their own in every template.
_TAKEN = ("schema", "range", "self", "super", "loop", "caller", "varargs", "kwargs", "true", "false", "none")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
_MARK = re.compile("\ue000(\\d+)\ue001")


def load_migrations(
    folder: Path, values: Mapping[str, Any], place: str = "schema_variables"
) -> list[Migration]:
    """Read, render and parse every migration of a folder, in order.

    :param folder: holds one folder a migration
    :param values: the inventory's variables by name
    :param place: where those are set, for error texts
    :raises SourceError: anything that is not right, before any connection
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder", hint="It holds one folder a migration: 0001_name/.")
    if not isinstance(values, Mapping):
        raise SourceError(f"{place} must map names to values, and is {values!r}")
    loaded: list[Migration] = []
    declared: set[str] = set()
    for path, match in _folders(folder):
        header = _read_header(path, match["id"])
        declarations = _declarations(header, path)
        declared.update(declaration.name for declaration in declarations)
        loaded.append(_load(path, match["id"], match["name"], header, declarations, values, place))
    if not loaded:
        raise SourceError(
            f"{folder} holds no migration", hint="Each is a folder <number>_<name>/ with migration.yml."
        )
    unknown = sorted(set(values) - declared)
    if unknown:
        raise SourceError(
            f"no migration declares these variables: {', '.join(unknown)}",
            hint=f"Correct or remove them in {place}; declared are: {', '.join(sorted(declared)) or 'none'}.",
        )
    _check_depends(loaded)
    return loaded


def _folders(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """The migrations' folders in the order of their numbers; hidden ones, and those that begin with ``_``, are not."""
    found: dict[int, tuple[Path, re.Match[str]]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if not path.is_dir():
            if path.name.endswith((".sql", ".sql.j2", ".yml")):
                raise SourceError(
                    f"{path} would not be run",
                    hint="A migration is a folder: <number>_<name>/ with migration.yml.",
                )
            continue
        match = _FOLDER.fullmatch(path.name)
        if not match:
            raise SourceError(
                f"{path}: a migration's folder is named <number>_<name>, for example 0003_reviews",
                hint="The number has four digits or more, the name small letters, digits and '_'.",
            )
        number = int(match["id"])
        if number in found:
            raise SourceError(f"{path.name} and {found[number][0].name} have the same number")
        found[number] = (path, match)
    return [found[number] for number in sorted(found)]


def _load(
    path: Path,
    number: str,
    name: str,
    header: Mapping[str, Any],
    declarations: list[Declaration],
    values: Mapping[str, Any],
    place: str,
) -> Migration:
    resolved = variables.resolve(declarations, values, f"{place} (for migration {path.name})")
    environment = _environment()
    found: list[Statement] = []
    digest = hashlib.sha256()
    for template in _templates(path):
        where = f"{path.name}/{template.name}"
        sql, line_of = _render(environment, _read_text(template), where, resolved)
        if len(sql) > MAX_FILE_BYTES:
            raise SourceError(f"{where} is rendered to {len(sql)} characters; {MAX_FILE_BYTES} are the most")
        digest.update(sql.encode() + b"\x00")
        found += statements.split(sql, where, line_of, header.get("drops", ()))
    if not found:
        raise SourceError(f"{path.name} holds no SQL statement", hint="Its files are named *.sql.j2.")
    _check_transactions(found)
    return Migration(
        id=number,
        name=name,
        description=header["description"],
        checksum=statements.checksum(found),
        source_sha256=digest.hexdigest(),
        statements=tuple(found),
        depends=tuple(header.get("depends", ())),
        existing_tables=tuple(header.get("existing_tables", ())),
        locks=header.get("locks", {}),
        grows=tuple(header.get("grows", ())),
        creates=header.get("creates", {}),
        variables={key: variables.to_json(value) for key, value in resolved.items()},
    )


def _templates(path: Path) -> list[Path]:
    """The files that a migration runs, in order. Hidden files are editors' and not looked at."""
    found = []
    for item in sorted(path.iterdir()):
        if item.name.startswith(".") or item.name in ("migration.yml", SAMPLES, "README.md"):
            continue
        if not item.name.endswith(".sql.j2") or not item.is_file():
            raise SourceError(
                f"{path.name}/{item.name} would not be run",
                hint=f"A migration holds migration.yml, {SAMPLES}, README.md and files that end with .sql.j2.",
            )
        found.append(item)
    return found


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    where = f"{path.parent.name}/{path.name}"
    if len(data) > MAX_FILE_BYTES:
        raise SourceError(f"{where} has {len(data)} bytes; a migration's file has {MAX_FILE_BYTES} at most")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{where} is not UTF-8: byte {data[error.start]:#04x} at offset {error.start}"
        ) from None
    for forbidden, why in (
        ("\x00", "a NUL byte"),
        ("\ue000", "U+E000"),
        (SCHEMA_PLACEHOLDER, SCHEMA_PLACEHOLDER),
    ):
        if forbidden in text:
            raise SourceError(f"{where} holds {why}, which has no place in a migration")
    return text.replace("\r\n", "\n")


def _read_header(path: Path, number: str) -> dict[str, Any]:
    file = path / "migration.yml"
    where = f"{path.name}/migration.yml"
    if not file.is_file():
        raise SourceError(
            f"{where} is missing", hint="It says what the migration is; see docs/migrations.md."
        )
    try:
        header = yaml.load(file.read_text(encoding="utf-8"), Loader=_YAML_LOADER)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist, or no UTF-8
        raise SourceError(f"{where} cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise SourceError(f"{where} is not a YAML mapping")
    for key, value in header.items():
        if key not in _KEYS:
            raise SourceError(f"{where}: unknown key {key!r}", hint=f"Known are: {', '.join(_KEYS)}.")
        if not isinstance(value, _KEYS[key]):
            raise SourceError(f"{where}: {key} must be a {_KEYS[key].__name__}, not {value!r}")
    if header.get("id") != number:
        raise SourceError(
            f"{where}: id is {header.get('id')!r}, but the folder says {number!r}",
            hint="The number stands in quotes.",
        )
    if not header.get("description", "").strip():
        raise SourceError(f"{where}: description is missing", hint="One sentence: what the migration is for.")
    for key in ("depends", "existing_tables", "grows", "drops"):
        _check_names(header.get(key, []), f"{where}: {key}")
    for table, mode in header.get("locks", {}).items():
        _check_names([table], f"{where}: locks")
        if mode not in locks.MODES:
            raise SourceError(
                f"{where}: locks: {table}: {mode!r} is not a lock mode",
                hint=f"One of: {', '.join(locks.MODES)}.",
            )
    for kind, names in header.get("creates", {}).items():
        if kind not in ("tables", "functions"):
            raise SourceError(f"{where}: creates: {kind!r} is unknown", hint="Known are: tables, functions.")
        _check_names(names, f"{where}: creates: {kind}")
    return header


def _check_names(names: object, where: str) -> None:
    if not isinstance(names, list):
        raise SourceError(f"{where} must be a list, not {names!r}")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise SourceError(f"{where}: {name!r} is not a name", hint="A number stands in quotes.")


def _declarations(header: Mapping[str, Any], path: Path) -> list[Declaration]:
    found = []
    where = f"{path.name}/migration.yml"
    for name, body in header.get("variables", {}).items():
        if name in _TAKEN:
            raise SourceError(f"{where}: variables: {name} is always there and cannot be declared")
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise SourceError(
                f"{where}: variables: {name!r} cannot be a variable", hint="Small letters, digits and '_'."
            )
        if not isinstance(body, dict) or body.get("type") not in variables.TYPES:
            raise SourceError(f"{where}: variables: {name} needs a type, one of {', '.join(variables.TYPES)}")
        unknown = [key for key in body if key not in ("type", "default", "minimum", "maximum", "description")]
        if unknown:
            raise SourceError(f"{where}: variables: {name}: unknown key {unknown[0]!r}")
        for key in ("minimum", "maximum"):
            if key in body and (body["type"] != "integer" or type(body[key]) is not int):
                raise SourceError(
                    f"{where}: variables: {name}: {key} is a number, and only an integer has one"
                )
        given = {key: body[key] for key in ("default", "minimum", "maximum") if key in body}
        found.append(Declaration(name=name, type=body["type"], **given))
    return found


def _check_transactions(found: list[Statement]) -> None:
    outside = [statement for statement in found if not statement.transactional]
    if outside and any(statement.transactional for statement in found[found.index(outside[0]) :]):
        raise SourceError(
            f"{outside[0].place}: a statement that cannot run inside a transaction must come after all that can",
            hint="Put it last, or into a migration of its own.",
        )


def _check_depends(loaded: list[Migration]) -> None:
    seen: set[str] = set()
    for migration in loaded:
        missing = [number for number in migration.depends if number not in seen]
        if missing:
            raise SourceError(
                f"{migration.label} depends on {', '.join(missing)}, which does not come before it"
            )
        seen.add(migration.id)


class _LineMarks(Extension):
    """Marks where each line of a template begins, so that a rendered statement can be traced back to its line."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            if token.type != "data":
                yield token
                continue
            line = token.lineno
            marked = [f"\ue000{line}\ue001"]
            for part in token.value.splitlines(keepends=True):
                marked.append(part)
                if part.endswith("\n"):
                    line += 1
                    marked.append(f"\ue000{line}\ue001")
            yield Token(token.lineno, "data", "".join(marked))


def _finalize(value: object) -> str:
    if isinstance(value, jinja2.Undefined):
        # Also {{ a if b }} without "else", which even StrictUndefined prints as nothing.
        raise jinja2.UndefinedError(value._undefined_message)
    return variables.to_sql(value)


def _unmarked(value: object) -> object:
    """Text that was collected by ``{% set %}…{% endset %}`` holds the marks of its lines."""
    return _MARK.sub("", value) if isinstance(value, str) else value


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        extensions=[_LineMarks],
    )
    environment.filters = {
        "ident": lambda value: variables.as_ident(_unmarked(value)),
        "literal": lambda value: variables.as_literal(_unmarked(value)),
    }
    environment.globals = {"range": safe_range}
    return environment


def _render(
    environment: jinja2.Environment, source: str, where: str, values: Mapping[str, Any]
) -> tuple[str, Any]:
    try:
        template = environment.from_string(source)
        marked = template.render({"schema": Identifier(SCHEMA_PLACEHOLDER), **values})
    except jinja2.TemplateSyntaxError as error:
        raise SourceError(f"{where}:{error.lineno}: template: {error.message}") from None
    except jinja2.UndefinedError as error:
        raise SourceError(
            f"{where}:{_template_line(error)}: template: {error}",
            hint="Variables are declared under 'variables' in migration.yml.",
        ) from None
    except (
        jinja2.TemplateError,
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        RecursionError,
    ) as error:
        raise SourceError(f"{where}:{_template_line(error)}: template: {error}") from None
    text: list[str] = []
    offsets: list[int] = []
    lines: list[int] = []
    length = at = 0
    for mark in _MARK.finditer(marked):
        text.append(marked[at : mark.start()])
        length += mark.start() - at
        offsets.append(length)
        lines.append(int(mark[1]))
        at = mark.end()
    text.append(marked[at:])
    return "".join(text), statements.line_counter(offsets, lines)


def _template_line(error: BaseException) -> int:
    """The template's line in a traceback that Jinja2 has rewritten to point into the template."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
