"""Whether ``x.from(…)`` and ``x.rpc(…)`` are calls of a supabase client, and if not, what they are."""

from __future__ import annotations

import re

from ansible.module_utils.rollout.audit.builders import OPERATION_METHODS, Request
from ansible.module_utils.rollout.audit.chain import FILTER_METHODS
from ansible.module_utils.rollout.audit.evaluation import Evaluator
from ansible.module_utils.rollout.audit.syntax import SourceFile, arguments_of, unwrap
from ansible.module_utils.rollout.audit.values import (
    Class,
    Client,
    Foreign,
    Function,
    Instance,
    Mock,
    Object,
    Place,
    Value,
    brief,
    options,
)
from tree_sitter import Node

#: Methods of postgrest-js that neither filter nor start an operation.
MODIFIER_METHODS = frozenset(
    [
        "order",
        "limit",
        "range",
        "single",
        "maybeSingle",
        "csv",
        "geojson",
        "explain",
        "rollback",
        "abortSignal",
        "throwOnError",
        "returns",
        "overrideTypes",
        "setHeader",
        "maxAffected",
        "retry",
    ]
)
BUILDER_METHODS = (
    frozenset({*FILTER_METHODS, "not", "or", "match", "filter"}) | MODIFIER_METHODS | OPERATION_METHODS
)
#: Query builders and streams that have a method ``from`` or ``rpc`` of their own.
OTHER_PACKAGES = frozenset(
    [
        "knex",
        "drizzle-orm",
        "kysely",
        "objection",
        "squel",
        "rxjs",
        "stream",
        "node:stream",
        "most",
        "xstream",
        "typeorm",
        "ethers",
        "web3",
        "mongodb",
        "mongoose",
        "redis",
        "ioredis",
        "pg",
        "mysql",
        "mysql2",
        "sequelize",
        "bookshelf",
        "immutable",
        "luxon",
        "dayjs",
        "jayson",
    ]
)
_MOCK_METHODS = re.compile(
    r"mock[A-Z]\w*|toHave\w*|calls?|callsFake|resolves|rejects|returns|onFirstCall|and"
)
_MOCKED_FROM = re.compile(rb"\b(?:from|rpc)\b\s*[:=]\s*(?:async\s*)?(?:\(\)\s*=>|jest|vi|sinon|mock\w*|fn)\b")

REAL, MOCKED, NOT_ONE = "call", "mock", "no call"


def judge(
    evaluator: Evaluator, file: SourceFile, call: Node, method: str, requests: list[Request]
) -> tuple[str, str]:
    """What a call of ``from`` or ``rpc`` is.

    :returns: :data:`REAL`, :data:`MOCKED` or :data:`NOT_ONE`, with the reason in words
    """
    receiver = unwrap(call.child_by_field_name("function") or call).child_by_field_name("object")
    if receiver is None:
        return NOT_ONE, "no receiver"
    text = brief(file.string(receiver))
    value = evaluator.value(Place(file, receiver))
    kinds = list(options(value))
    if any(isinstance(kind, Mock) for kind in kinds):
        return MOCKED, f"{text} is a mock"
    if file.test:
        mocked = _mock_in_test(evaluator, file, call, value, requests)
        if mocked:
            return MOCKED, mocked
    if any(isinstance(kind, Client) for kind in kinds):
        return REAL, ""
    for kind in kinds:
        reason = _known_otherwise(evaluator, kind, method)
        if reason:
            return NOT_ONE, f"{text} is {reason}"
    if method == "rpc":
        return _judge_rpc(file, call, text)
    return _judge_from(file, call, text, requests)


def _known_otherwise(evaluator: Evaluator, kind: Value, method: str) -> str:
    if isinstance(kind, Foreign):
        if kind.what == "storage":
            return "the storage API, not the database"
        package = kind.what.removeprefix("package ")
        if kind.what.startswith("supabase:"):
            return ""
        if not kind.what.startswith("package "):
            return f"{kind.what}, of the language"
        name = re.split(r"[.(]", package, maxsplit=1)[0]
        scoped = "/".join(name.split("/")[: 2 if name.startswith("@") else 1])
        return f"of package {scoped}" if scoped in OTHER_PACKAGES or name in OTHER_PACKAGES else ""
    if isinstance(kind, Instance | Class):
        own = evaluator.member(kind, method, "")
        if any(isinstance(option, Function) for option in options(own)):
            return f"an object with a method {method} of its own"
    if isinstance(kind, Object) and kind.entries and method not in kind.entries and not kind.unknown:
        return f"an object without {method}"
    return ""


def _judge_from(file: SourceFile, call: Node, text: str, requests: list[Request]) -> tuple[str, str]:
    first = requests[0].links[1:2]
    for request in requests:
        for link in request.links[1:]:
            if link.method not in BUILDER_METHODS:
                return (
                    NOT_ONE,
                    f"{text} is not known to be a client, and {link.method} is no method of a builder",
                )
    if not any(request.has_operation for request in requests):
        return NOT_ONE, f"{text} is not known to be a client, and no operation follows"
    if first and first[0].method not in OPERATION_METHODS:
        return NOT_ONE, f"{text} is not known to be a client, and {first[0].method} follows"
    arguments = arguments_of(call)
    if len(arguments) != 1:
        return NOT_ONE, f"{text} is not known to be a client, and from has {len(arguments)} arguments"
    return REAL, ""


def _judge_rpc(file: SourceFile, call: Node, text: str) -> tuple[str, str]:
    arguments = [unwrap(node) for node in arguments_of(call)]
    if not arguments:
        return NOT_ONE, f"{text} is not known to be a client, and rpc has no arguments"
    if arguments[0].type in ("object", "array", "arrow_function", "number"):
        return NOT_ONE, f"{text} is not known to be a client, and rpc's first argument is no name"
    if len(arguments) > 1 and arguments[1].type in (
        "array",
        "string",
        "number",
        "arrow_function",
        "template_string",
    ):
        return NOT_ONE, f"{text} is not known to be a client, and rpc's second argument is no object"
    return REAL, ""


def _mock_in_test(
    evaluator: Evaluator, file: SourceFile, call: Node, value: Value, requests: list[Request]
) -> str:
    if not arguments_of(call):
        return "called without a name, on a mock"
    for request in requests:
        if any(_MOCK_METHODS.fullmatch(name) for name in request.properties):
            return "the builder's methods are mocked"
        if any(
            _MOCK_METHODS.fullmatch(link.method) and link.method not in BUILDER_METHODS
            for link in request.links
        ):
            return "the builder's methods are mocked"
    for kind in options(value):
        if isinstance(kind, Client):
            return ""
        if isinstance(kind, Object) and {"from", "rpc"} & set(kind.entries):
            return "an object of the test with methods of its own"
        if isinstance(kind, Instance | Class):
            own = evaluator.member(kind, "from", "")
            if any(isinstance(option, Function) for option in options(own)):
                return "a class of the test with methods of its own"
    return "the test file mocks from or rpc" if _MOCKED_FROM.search(file.text) else ""
