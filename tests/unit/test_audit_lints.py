"""Each lint finds its mistake at its line, and is silent about the same call done right."""

import pytest
from ansible.module_utils.rollout.audit.lints import RULES, lint

from tests.audit_sources import CLIENT, look

GOOD_ANSWER = "if (error) throw error;"
#: rule: the mistake, and the same done right; both are the body of an async function on lines of their own.
CASES = {
    "error-not-read": (
        "const { data, error } = await db.from('t').select().limit(1); use(data);",
        f"const {{ data, error }} = await db.from('t').select().limit(1); {GOOD_ANSWER} use(data);",
    ),
    "data-without-select": (
        f"const {{ data, error }} = await db.from('t').insert({{ a: 1 }}); {GOOD_ANSWER} use(data);",
        f"const {{ data, error }} = await db.from('t').insert({{ a: 1 }}).select(); {GOOD_ANSWER} use(data);",
    ),
    "head-data": (
        f"const {{ data, error }} = await db.from('t').select('*', {{ head: true }}); {GOOD_ANSWER} use(data);",
        f"const {{ count, error }} = await db.from('t').select('*', {{ head: true }}); {GOOD_ANSWER} use(count);",
    ),
    "head-count": (
        f"const {{ count, error }} = await db.from('t').select('*', {{ count: 'exact', head: true }}); {GOOD_ANSWER}",
        f"const {{ count, error }} = await db.from('t').select('*', {{ count: 'exact' }}).limit(1); {GOOD_ANSWER}",
    ),
    "unknown-option": (
        f"const {{ error }} = await db.from('t').select().order('a', {{ nullsLast: true }}).limit(1); {GOOD_ANSWER}",
        f"const {{ error }} = await db.from('t').select().order('a', {{ nullsFirst: false }}).limit(1); {GOOD_ANSWER}",
    ),
    "row-cap": (
        f"const {{ data, error }} = await db.from('t').select().limit(5000); {GOOD_ANSWER}",
        f"const {{ data, error }} = await db.from('t').select().limit(1000); {GOOD_ANSWER}",
    ),
    "undefined-in-payload": (
        f"const {{ error }} = await db.from('t').update({{ a: o?.a }}).eq('id', 1); {GOOD_ANSWER}",
        f"const {{ error }} = await db.from('t').update({{ a: o?.a ?? null }}).eq('id', 1); {GOOD_ANSWER}",
    ),
    "or-interpolation": (
        f"const {{ error }} = await db.from('t').select().or(`a.eq.${{o}},b.eq.1`).limit(1); {GOOD_ANSWER}",
        f"const {{ error }} = await db.from('t').select().or('a.eq.2,b.eq.1').limit(1); {GOOD_ANSWER}",
    ),
    "eq-null": (
        f"const {{ error }} = await db.from('t').select().eq('a', null).limit(1); {GOOD_ANSWER}",
        f"const {{ error }} = await db.from('t').select().is('a', null).limit(1); {GOOD_ANSWER}",
    ),
    "date-object": (
        f"const {{ error }} = await db.from('t').select().gte('a', new Date()).limit(1); {GOOD_ANSWER}",
        f"const {{ error }} = await db.from('t').select().gte('a', new Date().toISOString()).limit(1); {GOOD_ANSWER}",
    ),
    "no-filter": (
        f"const {{ error }} = await db.from('t').delete(); {GOOD_ANSWER}",
        f"const {{ error }} = await db.from('t').delete().eq('id', 1); {GOOD_ANSWER}",
    ),
    "not-sent": (
        "db.from('t').insert({ a: 1 });",
        f"const {{ error }} = await db.from('t').insert({{ a: 1 }}); {GOOD_ANSWER}",
    ),
    "unknown-method": (
        f"const {{ error }} = await db.from('t').select().equals('a', 1).limit(1); {GOOD_ANSWER}",
        f"const {{ error }} = await db.from('t').select().eq('a', 1).limit(1); {GOOD_ANSWER}",
    ),
}


def findings(body: str, path: str = "a.js") -> list[tuple[str, int]]:
    found = look({path: CLIENT + "async function f(o) {\n" + body + "\n}"})
    return [(item.rule, item.line) for chain in found.chains for item in lint(chain)]


def test_every_rule_has_a_case() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("rule", CASES)
def test_a_mistake_is_found_at_its_line_and_its_repair_is_not(rule: str) -> None:
    mistake, repair = CASES[rule]
    assert (rule, 4) in findings(mistake)
    assert rule not in [found for found, _ in findings(repair)]


def test_the_calls_of_tests_are_not_linted() -> None:
    assert findings("await db.from('t').delete();", "tests/a.test.js") == []


def test_a_finding_is_at_the_line_of_its_part() -> None:
    found = findings(
        f"const {{ error }} = await db.from('t').select()\n.limit(1)\n.eq('a', null); {GOOD_ANSWER}"
    )
    assert found == [("eq-null", 6)]
