"""Migration folders: what is read and refused, templates, and the line of everything that goes wrong."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.rollout import source
from ansible.module_utils.rollout.errors import SourceError
from ansible.module_utils.rollout.migration import Migration
from ansible.module_utils.rollout.source import load_migrations

VARIABLES = {
    "first_month": {"type": "month", "default": "2025-11"},
    "n": {"type": "integer", "default": 3, "minimum": -5},
    "flag": {"type": "boolean", "default": True},
    "zone": {"type": "timezone", "default": "UTC"},
}
Write = Callable[..., Path]
Load = Callable[[str | bytes], Migration]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a migration's folder; returns the folder that holds it."""

    def write(label: str = "0001_x", sql: str | bytes | None = "SELECT 1;", **header: Any) -> Path:
        migration = tmp_path / label
        migration.mkdir()
        described = {"id": label.partition("_")[0], "description": "Invented.", **header}
        (migration / "migration.yml").write_text(yaml.safe_dump(described))
        if sql is not None:
            (migration / "010.sql.j2").write_bytes(sql if isinstance(sql, bytes) else sql.encode())
        return tmp_path

    return write


@pytest.fixture
def load(write: Write) -> Load:
    """Load a migration that consists of one template, with a variable of most types."""

    def load(sql: str | bytes) -> Migration:
        return load_migrations(write(sql=sql, variables=VARIABLES), {})[0]

    return load


def lines(migration: Migration) -> list[tuple[int, str]]:
    return [(statement.line, statement.text) for statement in migration.statements]


# --- folders


def test_folders_are_read_in_the_order_of_their_numbers(write: Write) -> None:
    for label in ("10000_last", "0002_second", "9999_almost", "_draft", ".hidden"):
        write(label)
    assert [migration.label for migration in load_migrations(write("0001_first"), {})] == [
        "0001_first",
        "0002_second",
        "9999_almost",
        "10000_last",
    ]


@pytest.mark.parametrize(
    "label",
    [
        "1_short",
        "x_no_number",
        "0001",
        "0001_",
        "0001_Capital",
        "0001-dash",
        "0001_ä",
        "٠٠٠١_x",
        "0001_x y",
        "0001_x.bak",
    ],
)
def test_a_folder_with_another_name_is_refused(tmp_path: Path, label: str) -> None:
    (tmp_path / label).mkdir()
    with pytest.raises(SourceError, match=re.escape(label)):
        load_migrations(tmp_path, {})


@pytest.mark.parametrize(("one", "other"), [("0001_a", "0001_b"), ("0001_a", "00001_b")])
def test_two_folders_with_one_number_are_refused(write: Write, one: str, other: str) -> None:
    write(one)
    with pytest.raises(SourceError, match="have the same number"):
        load_migrations(write(other), {})


@pytest.mark.parametrize("name", ["0002_y.sql", "0002_y.sql.j2", "migration.yml"])
def test_a_file_beside_the_folders_would_not_be_run(write: Write, name: str) -> None:
    (write() / name).write_text("SELECT 1")
    with pytest.raises(SourceError, match=f"{name} would not be run"):
        load_migrations(write("0003_z"), {})


def test_a_readme_beside_the_folders_is_welcome(write: Write) -> None:
    (write() / "README.md").write_text("About these migrations.")
    (write("0002_y") / ".sql").write_text("SELECT 1")
    assert len(load_migrations(write("0003_z"), {})) == 3


def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        load_migrations(tmp_path / "nowhere", {})
    with pytest.raises(SourceError, match="holds no migration"):
        load_migrations(tmp_path, {})


# --- migration.yml


def test_everything_in_the_header_arrives(write: Write) -> None:
    write()
    folder = write(
        "0002_y",
        depends=["0001"],
        existing_tables=["whatsapp_auth"],
        locks={"whatsapp_auth": "SHARE ROW EXCLUSIVE"},
        grows=["messages"],
        creates={"tables": ["t"], "functions": ["f(integer)"]},
        variables=VARIABLES,
    )
    migration = load_migrations(folder, {"n": "5"})[1]
    assert migration.label == "0002_y"
    assert migration.description == "Invented."
    assert migration.depends == ("0001",)
    assert migration.existing_tables == ("whatsapp_auth",)
    assert migration.locks == {"whatsapp_auth": "SHARE ROW EXCLUSIVE"}
    assert migration.grows == ("messages",)
    assert migration.creates == {"tables": ["t"], "functions": ["f(integer)"]}
    assert migration.variables == {"first_month": "2025-11", "n": 5, "flag": True, "zone": "UTC"}


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ({"lock": {}}, "unknown key 'lock'"),
        ({1: 2}, "unknown key 1"),
        ({"id": 1}, "id must be a str"),
        ({"id": "0002"}, "id is '0002', but the folder says '0001'"),
        ({"description": ""}, "description is missing"),
        ({"description": "  "}, "description is missing"),
        ({"description": None}, "description must be a str"),
        ({"depends": "0001"}, "depends must be a list"),
        ({"depends": [1]}, "depends: 1 is not a name"),
        ({"existing_tables": [None]}, "existing_tables: None is not a name"),
        ({"grows": [""]}, "grows: '' is not a name"),
        ({"drops": [["index i"]]}, "drops: .* is not a name"),
        ({"locks": ["whatsapp_auth"]}, "locks must be a dict"),
        ({"locks": {"whatsapp_auth": "SHARED"}}, "locks: whatsapp_auth: 'SHARED' is not a lock mode"),
        ({"locks": {"whatsapp_auth": "share"}}, "'share' is not a lock mode"),
        ({"locks": {"whatsapp_auth": ["SHARE"]}}, "is not a lock mode"),
        ({"locks": {1: "SHARE"}}, "locks: 1 is not a name"),
        ({"creates": {"views": ["v"]}}, "creates: 'views' is unknown"),
        ({"creates": {"tables": "companies"}}, "creates: tables must be a list"),
        ({"creates": {"functions": [3]}}, "creates: functions: 3 is not a name"),
        ({"variables": {"schema": {"type": "identifier"}}}, "schema is always there"),
        ({"variables": {"self": {"type": "integer"}}}, "self is always there"),
        ({"variables": {"none": {"type": "integer"}}}, "none is always there"),
        ({"variables": {"my-name": {"type": "text"}}}, "'my-name' cannot be a variable"),
        ({"variables": {"Name": {"type": "text"}}}, "'Name' cannot be a variable"),
        ({"variables": {7: {"type": "text"}}}, "7 cannot be a variable"),
        ({"variables": {"x": "text"}}, "x needs a type"),
        ({"variables": {"x": {"type": "string"}}}, "x needs a type, one of boolean, identifier, integer"),
        ({"variables": {"x": {"type": ["text"]}}}, "x needs a type"),
        ({"variables": {"x": {"type": "text", "defualt": "a"}}}, "x: unknown key 'defualt'"),
        ({"variables": {"x": {"type": "text", 1: "a"}}}, "x: unknown key 1"),
        ({"variables": {"x": {"type": "integer", "minimum": "1"}}}, "x: minimum is a number"),
        ({"variables": {"x": {"type": "integer", "maximum": True}}}, "x: maximum is a number"),
        ({"variables": {"x": {"type": "text", "maximum": 5}}}, "x: maximum is a number, and only an integer"),
        ({"variables": {"x": {"type": "integer", "default": "many"}}}, "x: 'many' must be a whole number"),
    ],
)
def test_a_wrong_header_is_told(write: Write, header: Mapping[Any, Any], told: str) -> None:
    folder = write()
    described = {"id": "0001", "description": "Invented.", **header}
    (folder / "0001_x" / "migration.yml").write_text(yaml.safe_dump(described))
    with pytest.raises(SourceError, match=told) as caught:
        load_migrations(folder, {})
    assert "0001_x" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a list", "is not a YAML mapping"),
        ("", "is not a YAML mapping"),
        ("id: [", "cannot be read"),
        ("id: 'é'".encode("latin-1"), "cannot be read"),
        ("id: !!python/object/apply:os.getcwd []", "cannot be read"),
        ("id: 2025-02-30", "cannot be read"),
    ],
)
def test_a_header_that_cannot_be_read_is_told(write: Write, text: str | bytes, told: str) -> None:
    folder = write()
    (folder / "0001_x" / "migration.yml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError, match=f"0001_x/migration.yml {told}"):
        load_migrations(folder, {})


def test_a_missing_header_is_told(write: Write) -> None:
    (write() / "0001_x" / "migration.yml").unlink()
    with pytest.raises(SourceError, match=r"0001_x/migration\.yml is missing"):
        load_migrations(write("0002_y"), {})


@pytest.mark.parametrize("depends", [["0003"], ["0002"], ["0009"]])
def test_what_a_migration_depends_on_comes_before_it(write: Write, depends: list[str]) -> None:
    write()
    write("0002_y", depends=depends)
    with pytest.raises(SourceError, match=f"0002_y depends on {depends[0]}, which does not come before it"):
        load_migrations(write("0003_z"), {})


# --- variables


def test_a_value_that_no_migration_declares_is_refused(write: Write) -> None:
    write(variables={"n": {"type": "integer", "default": 1}})
    with pytest.raises(SourceError, match="no migration declares these variables: m, o") as caught:
        load_migrations(
            write("0002_y", variables={"p": {"type": "text", "default": "x"}}), {"m": 1, "o": 2, "n": 3}
        )
    assert "declared are: n, p" in caught.value.hint


def test_the_place_of_a_wrong_value_is_named(write: Write) -> None:
    folder = write(variables={"name": {"type": "identifier"}})
    with pytest.raises(SourceError, match=r"name: 'a\"; DROP TABLE x; --' may hold") as caught:
        load_migrations(folder, {"name": 'a"; DROP TABLE x; --'}, "inventory/x.yml")
    assert "inventory/x.yml (for migration 0001_x)" in caught.value.hint


@pytest.mark.parametrize("values", ["n=1", ["n"], 5])
def test_values_that_are_no_mapping_are_refused(write: Write, values: Any) -> None:
    with pytest.raises(SourceError, match="must map names to values"):
        load_migrations(write(), values)


# --- files


def test_files_run_in_the_order_of_their_names(write: Write) -> None:
    folder = write(sql="SELECT 2;")
    (folder / "0001_x" / "005.sql.j2").write_text("SELECT 1;")
    (folder / "0001_x" / "020.sql.j2").write_text("-- a comment alone")
    (folder / "0001_x" / "030.sql.j2").write_text("SELECT 3;")
    assert [(one.template, one.text) for one in load_migrations(folder, {})[0].statements] == [
        ("0001_x/005.sql.j2", "SELECT 1"),
        ("0001_x/010.sql.j2", "SELECT 2"),
        ("0001_x/030.sql.j2", "SELECT 3"),
    ]


@pytest.mark.parametrize(
    "name",
    ["020.sql", "020.SQL.J2", "020.sql.j2.bak", "020.sql.j2~", "020.j2", "notes.txt", "migration.yaml"],
)
def test_a_file_that_would_not_be_run_is_told(write: Write, name: str) -> None:
    folder = write()
    (folder / "0001_x" / name).write_text("SELECT 1;")
    with pytest.raises(SourceError, match=f"0001_x/{re.escape(name)} would not be run"):
        load_migrations(folder, {})


@pytest.mark.parametrize("name", ["more", "020.sql.j2"])
def test_a_folder_inside_a_migration_would_not_be_run(write: Write, name: str) -> None:
    folder = write()
    (folder / "0001_x" / name).mkdir()
    with pytest.raises(SourceError, match=f"0001_x/{re.escape(name)} would not be run"):
        load_migrations(folder, {})


def test_a_link_to_nothing_is_told(write: Write) -> None:
    folder = write()
    (folder / "0001_x" / "020.sql.j2").symlink_to("nowhere")
    with pytest.raises(SourceError, match="would not be run"):
        load_migrations(folder, {})


def test_hidden_files_and_a_readme_are_not_run(write: Write) -> None:
    folder = write()
    for name in (".020.sql.j2", "._010.sql.j2", ".#010.sql.j2", "README.md"):
        (folder / "0001_x" / name).write_text("SELECT 'not me';")
    assert lines(load_migrations(folder, {})[0]) == [(1, "SELECT 1")]


@pytest.mark.parametrize(
    "sql",
    [
        None,
        "",
        "\n\n",
        "-- nothing\n/* here */",
        "{# nor here #}",
        ";;",
        "{% if not flag %}SELECT 1;{% endif %}",
    ],
)
def test_a_migration_without_a_statement_is_refused(write: Write, sql: str | None) -> None:
    with pytest.raises(SourceError, match="0001_x holds no SQL statement"):
        load_migrations(write(sql=sql, variables=VARIABLES), {})


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"SELECT 1;\x00", "a NUL byte"),
        ("SELECT 'é';".encode("latin-1"), r"not UTF-8: byte 0xe9 at offset 8"),
        ("SELECT 1;".encode("utf-16"), "not UTF-8: byte 0xff at offset 0"),
        (b"SELECT '\xed\xa0\x80';", "not UTF-8"),  # half a character
        ("SELECT '\ue0005\ue001';".encode(), r"U\+E000"),
        (b'SELECT 1 FROM "@schema@".t;', "@schema@"),
    ],
)
def test_bytes_that_have_no_place_in_a_template_are_told(load: Load, data: bytes, told: str) -> None:
    with pytest.raises(SourceError, match=rf"0001_x/010\.sql\.j2 (is|holds) {told}"):
        load(data)


def test_a_file_that_is_too_large_is_not_even_decoded(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 100)
    with pytest.raises(SourceError, match=r"has 101 bytes; a migration's file has 100 at most"):
        load(b"\xff" * 101)
    assert source.MAX_FILE_BYTES == 100


def test_a_loop_does_not_make_a_file_too_large(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_FILE_BYTES", 1000)
    with pytest.raises(SourceError, match=r"0001_x/010\.sql\.j2 is rendered to \d+ characters"):
        load("{% for i in range(200) %}SELECT 1;{% endfor %}")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1;\r\nSELECT 'a\r\nb';\r\n",
        "\ufeffSELECT 1;\nSELECT 'a\nb';",
        "SELECT 1;\nSELECT 'a\nb'",
        "SELECT 1;\rSELECT 'a\rb';",
    ],
)
def test_line_ends_and_a_byte_order_mark_are_no_part_of_the_sql(load: Load, sql: str) -> None:
    assert lines(load(sql)) == [(1, "SELECT 1"), (2, "SELECT 'a\nb'")]


# --- templates


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1;\n{% for m in first_month.next(2) %}\nSELECT {{ m }};\n\nSELECT 3;\n{% endfor %}\nSELECT 7;\n",
         [(1, "SELECT 1"), (3, "SELECT '2025-11-01'"), (5, "SELECT 3"), (3, "SELECT '2025-12-01'"), (5, "SELECT 3"),
          (7, "SELECT 7")]),
        ("{% for i in range(2) %}SELECT {{ loop.index }};{% endfor %}\nSELECT 3;",
         [(1, "SELECT 1"), (1, "SELECT 2"), (2, "SELECT 3")]),
        ("SELECT 1;\n{%- if flag -%}\n\n\nSELECT 5;\n{%- endif -%}\n\nSELECT 8;",
         [(1, "SELECT 1"), (5, "SELECT 5"), (8, "SELECT 8")]),
        ("{% if not flag %}\nSELECT 2;\n{% else %}\n\nSELECT 5;\n{% endif %}\nSELECT 7;",
         [(5, "SELECT 5"), (7, "SELECT 7")]),
        ("SELECT {{\n n\n +\n 1\n}};\nSELECT 6;", [(1, "SELECT 4"), (6, "SELECT 6")]),
        ("{# a\nb #}\nSELECT 3; {# c\n#} SELECT 4;\n-- {{ n }}\nSELECT 6;",
         [(3, "SELECT 3"), (4, "SELECT 4"), (6, "SELECT 6")]),
        ("-- a\n/* b\n*/ SELECT 3;\n\n-- c\nSELECT 6 -- d\n;\nSELECT 8;",
         [(3, "SELECT 3"), (6, "SELECT 6"), (8, "SELECT 8")]),
        ("{% raw %}\nSELECT '{{ x }}';\n{% endraw %}\nSELECT 4;", [(2, "SELECT '{{ x }}'"), (4, "SELECT 4")]),
        ("{% set t %}\nab{% endset %}\n\nSELECT 4 FROM {{ t | ident }};", [(4, 'SELECT 4 FROM "ab"')]),
        ("SELECT '\x0c\x0b\u2028я';\nSELECT 2;", [(1, "SELECT '\x0c\x0b\u2028я'"), (2, "SELECT 2")]),
        ("SELECT '{' || '${x}' || '$1' || '}}' || '%s' || '%%';",
         [(1, "SELECT '{' || '${x}' || '$1' || '}}' || '%s' || '%%'")]),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $a$\nSELECT $b$;$b$ $a$;\nSELECT 3;",
         [(1, "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $a$\nSELECT $b$;$b$ $a$"), (3, "SELECT 3")]),
    ],
)  # fmt: skip
def test_every_statement_knows_its_line_of_the_template(
    load: Load, sql: str, expected: list[tuple[int, str]]
) -> None:
    assert lines(load(sql)) == expected


@pytest.mark.parametrize(
    ("sql", "line", "told"),
    [
        ("SELECT 1;\n\nSELECT {{ nope }};", 3, "'nope' is undefined"),
        ("SELECT 1;\n{% if nope %}\n{% endif %}", 2, "'nope' is undefined"),
        ("{% for i in nope %}\n{% endfor %}", 1, "'nope' is undefined"),
        ("SELECT 1;\n\nSELECT {{ n.nope }};", 3, "has no attribute 'nope'"),
        ("SELECT 1;\nSELECT {{ 1 if not flag }};", 2, "no else section"),
        ("SELECT 1;\n\n\nSELECT {{ 'text' }};", 4, "a value of type str cannot be written into SQL"),
        ("SELECT 1;\n{% for i in [1] %}\n\nSELECT {{ zone.text }};{% endfor %}", 4, "a value of type str"),
        ("SELECT {{ n / 2 }};", 1, "a value of type float"),
        ("SELECT {{ none }};", 1, "a value of type NoneType"),
        ("SELECT 1;\n{{ ('a;b') | ident }}", 2, "ident: 'a;b' may hold"),
        ("SELECT 1;\n{{ [] | literal }}", 2, "literal: a value of type list"),
        ("SELECT 1;\n{% for %}", 2, "Expected an expression"),
        ("SELECT 1;\n{{ a b }}", 2, "expected token"),
        ("SELECT 1;\n{% if flag %}", 2, "Unexpected end of template"),
        ("SELECT 1;\n{{ n | safe }}", 2, "No filter named 'safe'"),
        ("SELECT 1;\n{{ n // 0 }}", 2, "by zero"),
        ("SELECT 1;\n{% for i in range(10 ** 9) %}{% endfor %}", 2, "Range too big"),
        ("SELECT 1;\n{{ [1][5] }}", 2, "has no element 5"),
        ("SELECT 1;\n{{ first_month.next('x') }}", 2, "'str' object"),
        ("SELECT 1;\n{% include 'x' %}", 2, "no loader"),
        ("SELECT 1;\n{{ n.__class__.__mro__ }}", 2, "'__class__' of 'int' object is unsafe"),
        ("SELECT 1;\n{{ ''.__class__ }}", 2, "is unsafe"),
        ("SELECT 1;\n{{ first_month.parse.__globals__ }}", 2, "is unsafe"),
        ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", 1, "recursion"),
    ],
)
def test_a_template_that_cannot_be_rendered_is_told_with_its_line(
    load: Load, sql: str, line: int, told: str
) -> None:
    with pytest.raises(SourceError, match=rf"^0001_x/010\.sql\.j2:{line}: template: .*{re.escape(told)}"):
        load(sql)


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("{% for i in [1, 2] %}\nSELECT {{ i }};\n{% endfor %}\nSELEC 1;", 4),
        ("{% for i in [1, 2] %}\nSELECT {{ i }}\n\n FROM WHERE;\n{% endfor %}", 4),
        ("{# a\nb #}\nSELECT {{ n +\n 1 }}; SELEC 2;", 4),
        ("SELECT 1;\n{% if flag %}\n\nTRUNCATE t;\n{% endif %}", 4),
    ],
)
def test_wrong_sql_is_told_with_the_line_of_the_template(load: Load, sql: str, line: int) -> None:
    with pytest.raises(SourceError, match=rf"^0001_x/010\.sql\.j2:{line}: "):
        load(sql)


def test_a_variable_may_be_named_like_a_word_of_python(write: Write) -> None:
    names = ("args", "context", "environment")
    sql = "SELECT " + ", ".join(f"{{{{ {name} }}}}" for name in names)
    declared = {name: {"type": "integer", "default": at} for at, name in enumerate(names)}
    assert lines(load_migrations(write(sql=sql, variables=declared), {})[0]) == [(1, "SELECT 0, 1, 2")]


@pytest.mark.parametrize(
    "value", ["'", "a'b", "$$", "%", "{{ 7 }}", "{% if 1 %}", "${x}", "a;b", "\\", "", "\x00", "x" * 70 + ";"]
)
def test_hostile_values_never_reach_the_template(write: Write, value: str) -> None:
    declared = {"t": {"type": "text"}, "i": {"type": "identifier"}, "n": {"type": "integer"}}
    with pytest.raises(SourceError) as caught:
        load_migrations(
            write(sql="SELECT {{ t }}, {{ i }}, {{ n }};", variables=declared), dict.fromkeys("tin", value)
        )
    assert [told.partition(":")[0] for told in caught.value.details["variables"]] == ["i", "n", "t"]


# --- what the whole adds up to


def test_statements_outside_a_transaction_come_last(load: Load) -> None:
    migration = load(
        "CREATE TABLE t (a int);\nCREATE INDEX CONCURRENTLY i ON t (a);\nCREATE INDEX CONCURRENTLY j ON t (a);"
    )
    assert [statement.transactional for statement in migration.statements] == [True, False, False]


def test_a_statement_outside_a_transaction_before_one_inside_is_refused(write: Write) -> None:
    folder = write(sql="CREATE INDEX CONCURRENTLY i ON t (a);")
    (folder / "0001_x" / "020.sql.j2").write_text("SELECT 1;")
    with pytest.raises(SourceError, match=r"0001_x/010\.sql\.j2:1: .* must come after all that can"):
        load_migrations(folder, {})


def test_only_what_the_header_lists_may_be_dropped(write: Write) -> None:
    sql = "DROP INDEX {{ schema }}.i; DROP TABLE {{ schema }}.t;"
    folder = write(sql=sql, drops=["index i", "table t"])
    assert len(load_migrations(folder, {})[0].statements) == 2
    with pytest.raises(SourceError, match=r"0002_y/010\.sql\.j2:1: drops table t"):
        load_migrations(write("0002_y", sql=sql, drops=["index i"]), {})


def test_hashes_tell_what_changed(write: Write) -> None:
    sql = "SELECT {{ n }};"
    write("0001_x", sql=sql, variables=VARIABLES)
    write("0002_y", sql=f"-- why\n{sql}", variables=VARIABLES)
    folder = write("0003_z", sql=f"{sql} SELECT 1;", variables=VARIABLES)
    plain, commented, longer = load_migrations(folder, {})
    assert commented.checksum == plain.checksum != longer.checksum
    assert commented.source_sha256 != plain.source_sha256
    assert load_migrations(folder, {"n": 4})[0].checksum != plain.checksum
    assert load_migrations(folder, {"n": "3"})[0] == plain
