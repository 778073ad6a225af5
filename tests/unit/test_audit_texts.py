"""The two languages inside strings, and the data structure itself: properties that hold for whatever is put in."""

from typing import Any

import pytest
from ansible.module_utils.rollout.audit import chain as model
from ansible.module_utils.rollout.audit.chain import (
    Chain,
    Column,
    Dynamic,
    Embed,
    Filter,
    Group,
    Known,
    Literal,
    Modifier,
    Option,
    Parameter,
    Payload,
    PayloadColumn,
    Selection,
    from_json,
    to_json,
)
from ansible.module_utils.rollout.audit.embedded import page_parts, shell_parts
from ansible.module_utils.rollout.audit.postgrest_text import hole, parse_list, parse_or, parse_select
from hypothesis import given
from hypothesis import strategies as st

from tests.audit_sources import CLIENT, look

names = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("count", "and", "or", "not")
)
texts = st.text(max_size=12)
scalars = st.none() | st.booleans() | st.integers() | texts
dynamics = st.builds(Dynamic, texts, st.lists(texts, max_size=3).map(tuple), st.booleans())
known = st.builds(Known, texts) | dynamics
values = (
    st.builds(Literal, scalars | st.lists(scalars, max_size=3).map(tuple))
    | st.builds(
        Parameter,
        texts,
        st.sampled_from(["", "array", "Date"]),
        st.lists(texts, max_size=3).map(tuple),
        st.booleans(),
    )
    | dynamics
)
filters = st.builds(
    Filter, st.sampled_from(["eq", "in", "is"]), known, values, st.booleans(), st.booleans(), st.integers()
)
conditions = st.recursive(
    filters,
    lambda inner: st.builds(
        Group, st.sampled_from(["or", "and"]), st.lists(inner, max_size=3).map(tuple), st.booleans()
    ),
)
columns = st.builds(Column, texts, texts, texts, texts, texts)
embeds = st.recursive(
    st.builds(Embed, texts, st.lists(columns, max_size=2).map(tuple)),
    lambda inner: st.builds(
        Embed, texts, st.lists(columns, max_size=2).map(tuple), st.lists(inner, max_size=2).map(tuple)
    ),
    max_leaves=4,
)
options = st.lists(st.builds(Option, texts, values), max_size=2).map(tuple)
chains = st.builds(
    Chain,
    file=texts,
    line=st.integers(),
    column=st.integers(),
    table=known,
    operation=texts,
    certainty=texts,
    schema=st.none() | known,
    select=st.none()
    | st.builds(
        Selection,
        st.lists(columns, max_size=2).map(tuple),
        st.lists(embeds, max_size=2).map(tuple),
        st.none() | dynamics,
    ),
    payload=st.none()
    | st.builds(
        Payload,
        st.lists(st.builds(PayloadColumn, texts, values, st.booleans()), max_size=2).map(tuple),
        st.none() | st.booleans(),
        st.none() | dynamics,
        st.none() | st.integers(),
    ),
    filters=st.lists(conditions, max_size=3).map(tuple),
    modifiers=st.lists(
        st.builds(Modifier, texts, st.lists(values, max_size=2).map(tuple), options), max_size=2
    ).map(tuple),
    options=options,
    error_read=st.none() | st.booleans(),
    notes=st.lists(texts, max_size=2).map(tuple),
)


@given(chains)
def test_a_chain_survives_its_json(chain: Chain) -> None:
    again = from_json(to_json(chain))
    assert again == chain
    assert repr(again) == repr(chain)  # True and 1 are equal, and not the same
    assert hash(again) == hash(chain)


def test_json_that_is_no_chain_is_refused() -> None:
    with pytest.raises(KeyError):
        from_json({"kind": "Chian"})
    with pytest.raises(TypeError):
        from_json({"kind": "Known", "value": "a", "more": 1})


def test_every_class_travels() -> None:
    classes = {
        name
        for name, value in vars(model).items()
        if isinstance(value, type) and value.__module__ == model.__name__
    }
    assert classes == set(model._KINDS)


@given(st.lists(names, min_size=1, max_size=5), st.data())
def test_a_list_of_columns_is_read_back(wanted: list[str], data: Any) -> None:
    spaced = "".join(f"{data.draw(st.sampled_from(['', ' ', chr(10) + '  ']))}{name}," for name in wanted)
    found = parse_select(spaced.removesuffix(","))
    assert [column.name for column in found.columns] == wanted
    assert found.unknown is None


@given(st.text(alphabet='ab,().:!*->" ${}\n', max_size=30))
def test_no_text_of_a_select_or_an_or_is_fatal(text: str) -> None:
    assert parse_select(text).line == 0
    assert parse_or(text, []).operator == "or"
    parse_list(text)


@given(st.lists(st.tuples(names, st.sampled_from(["eq", "gt", "like", "is"]), names), min_size=1, max_size=4))
def test_an_or_is_read_back(wanted: list[tuple[str, str, str]]) -> None:
    group = parse_or(",".join(".".join(part) for part in wanted), [])
    assert group.unparsed is None
    assert [
        (item.column, item.operator, item.value) for item in group.members if isinstance(item, Filter)
    ] == [(Known(column), operator, Literal(value)) for column, operator, value in wanted]


def test_an_or_keeps_what_is_interpolated_apart() -> None:
    group = parse_or(f"a.eq.{hole(0)},b.ilike.*{hole(1)}*,c.in.({hole(0)})", [Parameter("x"), Parameter("y")])
    assert group.interpolated
    assert [item.value for item in group.members if isinstance(item, Filter)] == [
        Parameter("x"),
        Parameter("y", "string", ("*", "*")),
        Parameter("x", "array"),
    ]
    assert not parse_or("a.eq.1", []).interpolated


@pytest.mark.parametrize("text", ["a", "a.b", "a.eq", "a.eq.1,", "and(a.eq.1", "a.zz.1"])
def test_an_or_that_is_not_valid_says_so(text: str) -> None:
    assert parse_or(text, []).unparsed is not None


@pytest.mark.parametrize("text", ["a,,b", "a(b", "a)b", "a::", "a->", "a.summ()"])
def test_a_select_that_is_not_valid_says_so(text: str) -> None:
    assert parse_select(text).unknown is not None


@given(
    st.binary(max_size=60),
    st.sampled_from([b"node -e '%s'\n", b"cat <<EOF\n%s\nEOF\n", b'x "node -e \\"%s\\""\n']),
)
def test_embedded_scripts_stay_in_their_place(body: bytes, around: bytes) -> None:
    text = around % body
    for part in shell_parts(text):
        assert len(part) == len(text)
        assert [at for at, sign in enumerate(part) if sign == 10] == [
            at for at, sign in enumerate(text) if sign == 10
        ]


@given(st.binary(max_size=60))
def test_scripts_of_a_page_stay_in_their_place(body: bytes) -> None:
    text = b"<p>\n<script>" + body + b"</script>\n<script type='text/template'>x</script>"
    for part, _ in page_parts(text):
        assert len(part) == len(text)
        assert part.strip() in body


PIECES = st.sampled_from(
    [
        "db.from('t').select('a');",
        "Array.from(x);",
        "// db.from('t')\n",
        "'db.rpc(1)';",
        "db.rpc('f', { a: 1 });",
        "if (x) {",
        "}",
        "const f = async (q) => {",
        "};",
        "((",
        "`${db.from('u').select()}`;",
        "await db.from(T).update({ ...x });",
        "<b>",
        "/db.from(/;",
    ]
)


@given(st.lists(PIECES, max_size=8))
def test_whatever_the_code_is_the_account_adds_up(pieces: list[str]) -> None:
    found = look(CLIENT + "\n".join(pieces))
    places = {(chain.line, chain.column) for chain in found.chains}
    assert sum(found.text_hits.values()) == len(places) + len(found.sightings)
