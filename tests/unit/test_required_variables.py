"""The judgement of the action required_variables, without Ansible around it."""

from typing import Any

import pytest
from ansible.errors import AnsibleTemplateError
from ansible.template import Templar, trust_as_template

from action_plugins.required_variables import Finding, Requirement, describe, inspect, judge

PASSWORD = Requirement("vault_pg_password", "password of the database role", "vault.yml")
HOST = Requirement("pg_host", "name of the database server", "database.yml")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("db.example.invalid", "any"),
        (0, "any"),
        (False, "any"),
        (["whatsapp_auth"], "any"),
        (1, "port"),
        (65535, "port"),
        ("5432", "port"),
        ("verify-full", "sslmode"),
        (__file__, "file"),
    ],
)
def test_a_usable_value_passes(value: Any, kind: str) -> None:
    assert judge(value, kind) is None


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        (None, "any", "is null"),
        ("", "any", "is empty"),
        (" \t\n", "any", "is empty"),
        ([], "any", "is empty"),
        ({}, "any", "is empty"),
        ("change-me", "any", "change-me"),
        ("db-Change-Me.example.invalid", "any", "change-me"),
        (0, "port", "not a port"),
        (65536, "port", "not a port"),
        (True, "port", "not a port"),
        ("５４３２", "port", "not a port"),  # full-width digits
        ("5432 ", "port", "not a port"),
        (5432.0, "port", "not a port"),
        ("verify_full", "sslmode", "not an sslmode"),
        (True, "sslmode", "not an sslmode"),
        ("/nowhere/pg_service.conf", "file", "existing file"),
        (3, "file", "existing file"),
    ],
)
def test_an_unusable_value_is_named(value: Any, kind: str, problem: str) -> None:
    finding = judge(value, kind)
    assert finding is not None
    assert problem in finding.problem


def evaluate(requirement: Requirement, **variables: Any) -> Finding | None:
    trusted = {
        name: trust_as_template(value) if isinstance(value, str) else value
        for name, value in variables.items()
    }
    return inspect(requirement, trusted, Templar(variables=trusted))


def test_templates_are_resolved_before_they_are_judged() -> None:
    assert evaluate(HOST, pg_host="{{ vault_pg_host }}", vault_pg_host="db.example.invalid") is None
    empty = evaluate(HOST, pg_host="{{ vault_pg_host }}", vault_pg_host="  ")
    assert empty == Finding("is empty")


def test_a_variable_that_is_nowhere_is_told_from_one_that_refers_to_nothing() -> None:
    assert evaluate(HOST) == Finding("is not defined")
    finding = evaluate(HOST, pg_host="{{ vault_pg_host }}")
    assert finding == Finding("refers to vault_pg_host, which is not defined", "vault_pg_host")


def test_an_undefined_part_of_a_mapping_is_found() -> None:
    finding = evaluate(HOST, pg_host={"name": "{{ vault_pg_host }}"})
    assert finding is None  # plain strings inside containers are not trusted as templates
    nested = {"name": trust_as_template("{{ vault_pg_host }}")}
    finding = evaluate(HOST, pg_host=nested)
    assert finding == Finding("refers to vault_pg_host, which is not defined", "vault_pg_host")


class FailingTemplar:
    """Fails the way an undecryptable value does."""

    def template(self, _value: Any) -> Any:
        raise AnsibleTemplateError("tried with hunter2")


def test_the_text_of_an_evaluation_error_is_not_repeated() -> None:
    finding = inspect(PASSWORD, {"vault_pg_password": "x"}, FailingTemplar())
    assert finding is not None
    assert "AnsibleTemplateError" in finding.problem
    assert "hunter2" not in finding.problem


def test_nothing_to_say_without_findings() -> None:
    assert describe([HOST, PASSWORD], {"app": {}}, "hint") is None


def test_the_message_names_all_with_purpose_and_place() -> None:
    message = describe(
        [HOST, PASSWORD],
        {"app": {"pg_host": Finding("is empty"), "vault_pg_password": Finding("is not defined")}},
        "Copy the example.",
    )
    assert message is not None
    assert message.startswith("2 required values are missing or unusable; nothing was connected to")
    assert (
        "pg_host is empty\n      what for: name of the database server\n      put it in: database.yml"
        in message
    )
    assert "vault_pg_password is not defined\n" in message
    assert message.endswith("\n\nCopy the example.")


def test_hosts_are_named_only_where_they_differ() -> None:
    missing = {"pg_host": Finding("is not defined")}
    everywhere = describe([HOST], {"a": missing, "b": missing}, "")
    somewhere = describe([HOST], {"a": {}, "b": missing, "c": missing}, "")
    assert everywhere is not None
    assert somewhere is not None
    assert "(on" not in everywhere
    assert "pg_host is not defined (on b, c)" in somewhere


def test_what_a_missing_variable_causes_is_not_told_twice() -> None:
    caused = Finding("refers to vault_pg_password, which is not defined", "vault_pg_password")
    both = describe([HOST, PASSWORD], {"a": {"pg_host": caused, "vault_pg_password": Finding("is null")}}, "")
    alone = describe([HOST, PASSWORD], {"a": {"pg_host": caused}}, "")
    assert both is not None
    assert alone is not None
    assert both.startswith("1 required value is")
    assert "pg_host refers" not in both
    assert "pg_host refers to vault_pg_password" in alone
