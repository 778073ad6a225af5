"""Every supabase-js call of a code base, and an account of everything that looked like one.

What the text search finds and what is reported always add up: each ``.from(`` and ``.rpc(`` of the text is a call, a
mock's, something else with a reason, or a place that could not be parsed.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ansible.module_utils.rollout.audit import embedded, exports, modules
from ansible.module_utils.rollout.audit.assembly import Assembler
from ansible.module_utils.rollout.audit.builders import Follower, Link
from ansible.module_utils.rollout.audit.chain import Chain
from ansible.module_utils.rollout.audit.clients import BUILDER_METHODS, MOCKED, REAL, judge
from ansible.module_utils.rollout.audit.evaluation import Evaluator
from ansible.module_utils.rollout.audit.sources import MAX_BYTES, Source
from ansible.module_utils.rollout.audit.syntax import SourceFile, language_of
from ansible.module_utils.rollout.audit.values import Constant, List, Object, options, scalar_text
from ansible.module_utils.rollout.errors import SourceError
from tree_sitter import Node

SCRIPTS = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts")
#: Files that hold no code by their name; they are counted, not opened.
_NOT_TEXT = re.compile(
    r"\.(?:png|jpe?g|gif|webp|ico|svg|pdf|zip|gz|tgz|xz|bz2|7z|woff2?|ttf|otf|eot|mp[34]|ogg|wav|mov|webm|bin|exe|so|"
    r"dylib|db|sqlite3?|wasm|pyc|class|jar|lock|map|docx?|xlsx?|pptx?|pem|key|crt)$",
    re.IGNORECASE,
)
#: ``.from(``, ``?.from(``, ``['from'](``, ``.from<T>(``.
HIT = re.compile(
    rb"(?:\.\s*|\[\s*['\"`])(?P<method>from|rpc)(?:['\"`]\s*\])?\s*(?:\?\.\s*)?(?:<[^;(){}]*>\s*)?\("
)
_METHOD = re.compile(
    rb"\.\s*(" + "|".join(sorted(BUILDER_METHODS, key=len, reverse=True)).encode() + rb")\s*\("
)
_TEST = re.compile(
    r"(?:^|/)(?:__tests__|__mocks__|tests?|spec|e2e)/|\.(?:test|spec|mock)\.[cm]?[jt]sx?$|[-_.]test\.[cm]?[jt]sx?$"
)
_ECOSYSTEM = re.compile(
    r"(?:^|/)(?:ecosystem[^/]*\.config\.c?js|ecosystem\.json|pm2[^/]*\.(?:json|config\.c?js))$"
)
_COPY = re.compile(
    r"(?: \d+| copy(?: \d+)?| \(\d+\)|[-_.](?:copy|backup|bak|old|orig))(?=\.[a-z]+$)", re.IGNORECASE
)
MAX_CACHED_BYTES = 32 * 1024 * 1024
#: Parsed files that are kept at a time.
MOST_PARSED = 400


@dataclass(frozen=True)
class Sighting:
    """Something that the text search finds and that is no call.

    :ivar kind: ``mock``, ``no call`` or ``not parsed``
    """

    file: str
    line: int
    column: int
    method: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Note:
    """A file, or a part of one, that was not read as code.

    :ivar line: 0 for the whole file
    :ivar last_line: 0 for the whole file
    :ivar hits: how often the text search finds a call in it
    """

    file: str
    reason: str
    line: int = 0
    last_line: int = 0
    hits: int = 0


@dataclass
class Method:
    """How often the text search finds one of the builder's methods, and how often it is part of a call.

    :ivar elsewhere: ``file:line`` where it is not: a method of the same name of something else
    """

    found: int = 0
    in_calls: int = 0
    elsewhere: list[str] = field(default_factory=list)


@dataclass
class Audit:
    """What was found in one code base.

    :ivar chains: one a request; several of one ``line`` differ by ``caller``, operation or branch
    :ivar copies: byte-identical copies, each with the file that stands for it; their calls are not in ``chains``
    :ivar copied_hits: what the text search finds in copies, by method
    :ivar entry_points: names of services and their first files
    :ivar reach: names of the services that reach a file, by file
    :ivar text_hits: what the text search finds in all files that were read as code, copies among them, by method
    :ivar methods: the builder's methods in the files that hold a call, copies left out
    :ivar read: how many files were read as code
    """

    source: str
    commit: str
    chains: list[Chain] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    copied_hits: dict[str, int] = field(default_factory=dict)
    problems: list[Note] = field(default_factory=list)
    skipped: list[Note] = field(default_factory=list)
    entry_points: list[tuple[str, str]] = field(default_factory=list)
    reach: dict[str, list[str]] = field(default_factory=dict)
    text_hits: dict[str, int] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)
    read: int = 0
    files: int = 0


class CodeBase:
    """The files of a source: read once, parsed when somebody asks."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.paths = source.files()
        self.problems: list[Note] = []
        self._texts: dict[str, bytes] = {}
        self._cached = 0
        self._parsed: dict[str, SourceFile] = {}
        self._after: dict[str, dict[str, list[str]]] = {}
        self.scripts = [path for path in self.paths if path.endswith(SCRIPTS)]
        self.resolver = modules.Resolver(self.paths, self._aliases())

    def text(self, path: str) -> bytes:
        """A file's text in UTF-8.

        :raises OSError: it cannot be read
        """
        known = self._texts.get(path)
        if known is not None:
            return known
        text = self.source.read(path)
        if text.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = text.decode("utf-16", "replace").encode()
        text = text.removeprefix(b"\xef\xbb\xbf")
        if self._cached + len(text) <= MAX_CACHED_BYTES:
            self._texts[path] = text
            self._cached += len(text)
        return text

    def _aliases(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in modules.CONFIGURATIONS:
            if name in self.paths:
                try:
                    found.update(modules.aliases(name, self.text(name)))
                except (ValueError, AttributeError, TypeError, OSError) as error:
                    self.problems.append(Note(name, f"its aliases could not be read: {error}"))
        return found

    # The evaluator's view.

    def load(self, path: str) -> SourceFile | None:
        """A script, parsed."""
        if path not in self._parsed:
            if not path.endswith(SCRIPTS):
                return None
            try:
                text = self.text(path)
            except OSError:
                return None  # reported when all files were read
            self._parsed[path] = SourceFile(path, text, language_of(path), is_test(path))
        return self._parsed[path]

    @property
    def parsed(self) -> int:
        """How many files are kept parsed."""
        return len(self._parsed)

    def forget_trees(self) -> None:
        """Let go of every parsed file."""
        self._parsed.clear()

    def resolve(self, file: str, request: str) -> str | None:
        """The file that an import names."""
        return self.resolver.resolve(file, request)

    def subclasses(self, name: str) -> Iterable[str]:
        """Files in which a class extends one of that name."""
        return self._mentions("extends").get(name, ())

    def constructions(self, name: str) -> Iterable[str]:
        """Files in which one of that name is made."""
        return self._mentions("new").get(name, ())

    def naming(self, name: str) -> Iterable[str]:
        """Files whose text has a name."""
        word = name.encode()
        return [path for path in self.scripts if word in self._readable(path)]

    def _readable(self, path: str) -> bytes:
        try:
            return self.text(path)
        except OSError:
            return b""  # reported when all files were read

    def _mentions(self, word: str) -> dict[str, list[str]]:
        """Files by the name that stands after a word; made when it is asked for the first time."""
        if word not in self._after:
            pattern = re.compile(word.encode() + rb"\s+(?:[\w$]+\.)*([\w$]+)")
            found: dict[str, dict[str, None]] = {}
            for path in self.scripts:
                for name in set(pattern.findall(self._readable(path))):
                    found.setdefault(name.decode(), {})[path] = None
            self._after[word] = {name: list(paths) for name, paths in found.items()}
        return self._after[word]


def audit(source: Source, entry_points: Iterable[str] = ()) -> Audit:
    """Find every call.

    :param source: where the code is
    :param entry_points: first files of services, relative to the source; without any, PM2's configuration files among
        the source name them
    :raises SourceError: an entry point is not among the files
    """
    code = CodeBase(source)
    evaluator = Evaluator(code)
    result = Audit(source.name, source.commit, files=len(code.paths))
    imports, candidates = _read(code, result)
    _find_entry_points(code, evaluator, list(entry_points), result)
    result.reach = modules.reach(imports, result.entry_points)
    extractor = _Extractor(code, evaluator, result)
    for candidate in candidates:
        extractor.extract_from(candidate)
    extractor.count_methods(candidates)
    result.problems += code.problems
    result.skipped += [Note(path, reason) for path, reason in source.left_out()]
    result.chains.sort(key=lambda chain: (chain.file, chain.line, chain.column, chain.caller))
    result.sightings.sort(key=lambda item: (item.file, item.line, item.column))
    return result


def is_test(path: str) -> bool:
    """Whether a file belongs to tests, by its name."""
    return _TEST.search(path) is not None


def _read(code: CodeBase, result: Audit) -> tuple[dict[str, list[str]], list[str | SourceFile]]:
    """Look at every file: what it imports, and whether the text search finds a call in it."""
    imports: dict[str, list[str]] = {}
    holding: dict[str, bytes] = {}
    others: dict[str, int] = {}
    for path in code.paths:
        if _NOT_TEXT.search(path):
            ending = posixpath.splitext(path)[1].lower()
            others[ending] = others.get(ending, 0) + 1
            continue
        try:
            text = code.text(path)
        except OSError as error:
            result.problems.append(Note(path, f"cannot be read: {error.strerror or error}"))
            continue
        script = path.endswith(SCRIPTS)
        hits = len(HIT.findall(text)) if b"from" in text or b"rpc" in text else 0
        if len(text) > MAX_BYTES and (script or hits):
            result.skipped.append(Note(path, f"has {len(text)} bytes, more than {MAX_BYTES}", hits=hits))
        elif script:
            result.read += 1
            found = (code.resolve(path, request) for request in modules.requests(text))
            imports[path] = [target for target in found if target is not None]
            if hits:
                holding[path] = text
        elif embedded.is_page(path) or embedded.is_shell(path, text):
            result.read += 1
            if hits:
                holding[path] = text
        elif hits:
            result.skipped.append(Note(path, "is not JavaScript", hits=hits))
    for ending, count in sorted(others.items()):
        result.skipped.append(Note(f"*{ending}", f"{count} files that hold no code"))
    return imports, _candidates(code, holding, result)


def _candidates(code: CodeBase, holding: dict[str, bytes], result: Audit) -> list[str | SourceFile]:
    """What to look into: paths of scripts, of copies only one, and the scripts inside of other files."""
    found: list[str | SourceFile] = []
    first: dict[bytes, str] = {}
    for path in sorted(holding, key=lambda path: (_COPY.search(path) is not None, len(path), path)):
        text = holding[path]
        for match in HIT.finditer(text):
            method = match["method"].decode()
            result.text_hits[method] = result.text_hits.get(method, 0) + 1
        digest = hashlib.sha256(text).digest()
        original = first.setdefault(digest, path)
        if original != path:
            result.copies[path] = original
            for match in HIT.finditer(text):
                method = match["method"].decode()
                result.copied_hits[method] = result.copied_hits.get(method, 0) + 1
            continue
        if path.endswith(SCRIPTS):
            found.append(path)
        else:
            found += _parts(path, text, result)
    return sorted(found, key=lambda item: item if isinstance(item, str) else item.path)


def _parts(path: str, text: bytes, result: Audit) -> list[SourceFile]:
    """The JavaScript inside a shell script or a page, and a line for every hit outside of it."""
    if embedded.is_page(path):
        parts = [(part, "typescript" if typed else "javascript") for part, typed in embedded.page_parts(text)]
    else:
        parts = [(part, "javascript") for part in embedded.shell_parts(text)]
    found = [SourceFile(path, part, language, is_test(path)) for part, language in parts if HIT.search(part)]
    inside = {match.start("method") for file in found for match in HIT.finditer(file.text)}
    for match in HIT.finditer(text):
        if match.start("method") not in inside:
            start = text.rfind(b"\n", 0, match.start("method")) + 1
            line = text.count(b"\n", 0, start) + 1
            column = len(text[start : match.start("method")].decode("utf-8", "replace")) + 1
            method = match["method"].decode()
            result.sightings.append(Sighting(path, line, column, method, "no call", "outside of a script"))
    return found


class _Extractor:
    """Looks into one file after the other."""

    def __init__(self, code: CodeBase, evaluator: Evaluator, result: Audit) -> None:
        self._code = code
        self._result = result
        self._use(evaluator)
        self._used: set[tuple[str, int]] = set()

    def _use(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._follower = Follower(evaluator)
        self._assembler = Assembler(evaluator)

    def extract_from(self, candidate: str | SourceFile) -> None:
        """Every call of a script, or of a script inside of another file."""
        if self._code.parsed > MOST_PARSED:
            # Trees and values can be had again; chains hold none of them.
            self._code.forget_trees()
            self._use(Evaluator(self._code))
        file = self._code.load(candidate) if isinstance(candidate, str) else candidate
        if file is not None:
            self._extract(file)

    def _extract(self, file: SourceFile) -> None:
        self._evaluator.forget_calls()
        damage = file.damage()
        hits = list(HIT.finditer(file.text))
        for first, last in damage:
            self._result.problems.append(Note(file.path, "is not valid here", first, last))
        for match in hits:
            method = match["method"].decode()
            node = file.at(match.start("method"))
            call = _call_of(file, node)
            if call is None:
                self._sight(file, match.start("method"), node, method, damage)
                continue
            self._evaluator.begin()
            requests = self._follower.follow(file, call, method)
            kind, reason = judge(self._evaluator, file, call, method, requests)
            if kind == REAL:
                for request in requests:
                    self._used.update(_method_place(link) for link in request.links[1:])
                self._result.chains += _different(
                    [self._assembler.chain(file, request) for request in requests]
                )
            else:
                self._add(file, node, method, "mock" if kind == MOCKED else "no call", reason)

    def count_methods(self, candidates: list[str | SourceFile]) -> None:
        """Compare what the text search finds of every method of a builder with what was followed."""
        for candidate in candidates:
            if isinstance(candidate, str):
                path, text = candidate, self._code.text(candidate)
            else:
                path, text = candidate.path, candidate.text
            for match in _METHOD.finditer(text):
                method = self._result.methods.setdefault(match[1].decode(), Method())
                method.found += 1
                if (path, match.start(1)) in self._used:
                    method.in_calls += 1
                else:
                    line = text.count(b"\n", 0, match.start(1)) + 1
                    method.elsewhere.append(f"{path}:{line}")

    def _sight(
        self, file: SourceFile, offset: int, node: Node, method: str, damage: list[tuple[int, int]]
    ) -> None:
        kinds = {node.type, *(above.type for above in file.ancestors(node))}
        line = file.text.count(b"\n", 0, offset) + 1
        if "comment" in node.type or "html_comment" in kinds:
            kind, reason = "no call", "in a comment"
        elif (
            kinds & {"string", "template_string", "regex", "jsx_text"}
            and "template_substitution" not in kinds
        ):
            kind, reason = "no call", "in a text"
        elif "ERROR" in kinds or any(first <= line <= last for first, last in damage):
            kind, reason = "not parsed", "the file is not valid here"
        elif node.type == "template_string" or "string" in node.type:
            kind, reason = "no call", "in a text"
        else:
            kind, reason = "no call", "it is named here, not called"
        start = file.text.rfind(b"\n", 0, offset) + 1
        column = len(file.text[start:offset].decode("utf-8", "replace")) + 1
        self._result.sightings.append(Sighting(file.path, line, column, method, kind, reason))

    def _add(self, file: SourceFile, node: Node, method: str, kind: str, reason: str) -> None:
        self._result.sightings.append(
            Sighting(file.path, file.line(node), file.column(node), method, kind, reason)
        )


def _method_place(link: Link) -> tuple[str, int]:
    callee = link.place.node.child_by_field_name("function")
    name = callee.child_by_field_name("property") if callee is not None else None
    return link.place.file.path, name.start_byte if name is not None else -1


def _call_of(file: SourceFile, node: Node) -> Node | None:
    """The call whose method a node names."""
    if node.type == "string_fragment":
        node = file.parent(node) or node
    access = file.parent(node)
    if access is None or access.type not in ("member_expression", "subscript_expression"):
        return None
    name = access.child_by_field_name("property") or access.child_by_field_name("index")
    outer = file.outside(access)
    call = file.parent(outer)
    if name is None or name.id != node.id or call is None or call.type != "call_expression":
        return None
    callee = call.child_by_field_name("function")
    return call if callee is not None and callee.id == outer.id else None


def _different(chains: list[Chain]) -> list[Chain]:
    """Chains without those that say the same, apart from who calls."""
    found: dict[Chain, Chain] = {}
    for chain in chains:
        key = Chain(**{**chain.__dict__, "caller": ""})
        found.setdefault(key, chain)
    return list(found.values())


def _find_entry_points(code: CodeBase, evaluator: Evaluator, given: list[str], result: Audit) -> None:
    """The services' first files: those that are given, or those of PM2's configuration."""
    for path in given:
        found = code.resolver.resolve("", f"./{path.removeprefix('./')}")
        if found is None:
            raise SourceError(
                f"the entry point {path} is not among the files of {result.source}",
                hint="audit_entry_points are relative to audit_source.",
            )
        result.entry_points.append((posixpath.splitext(posixpath.basename(found))[0], found))
    if given:
        return
    for path in code.paths:
        if not _ECOSYSTEM.search(path) or _COPY.search(path):
            continue
        for name, script in _services(code, evaluator, path):
            # PM2 starts a script from the folder that it was called in: mostly the configuration's, or the top.
            places = (path, "x")
            started = (code.resolver.resolve(place, f"./{script.removeprefix('./')}") for place in places)
            start = next((found for found in started if found is not None), None)
            if start is None:
                result.problems.append(Note(path, f"the script of {name} is not among the files: {script}"))
            elif (name, start) not in result.entry_points:
                result.entry_points.append((name, start))


def _services(code: CodeBase, evaluator: Evaluator, path: str) -> list[tuple[str, str]]:
    """Names and scripts of a PM2 configuration."""
    found: list[tuple[str, str]] = []
    if path.endswith(".json"):
        try:
            content = json.loads(code.text(path))
        except (ValueError, OSError) as error:
            code.problems.append(Note(path, f"is not valid JSON: {error}"))
            return found
        apps = content.get("apps", content) if isinstance(content, dict) else content
        for app in apps if isinstance(apps, list) else [apps]:
            if isinstance(app, dict) and isinstance(app.get("script"), str):
                found.append((str(app.get("name") or app["script"]), app["script"]))
        return found
    file = code.load(path)
    if file is None:
        return found
    apps_value = evaluator.member(exports.export(evaluator, file, "default"), "apps", "apps")
    exported = exports.exports(evaluator, file)
    if not isinstance(exported, dict):
        apps_value = evaluator.member(exported, "apps", "apps")
    for option in options(apps_value):
        for item in option.items if isinstance(option, List) else ():
            app_value = evaluator.value(item)
            if not isinstance(app_value, Object):
                continue
            texts: dict[str, str] = {}
            for key in ("name", "script"):
                entry = app_value.entries.get(key)
                value = evaluator.value(entry.place) if entry is not None else None
                if isinstance(value, Constant):
                    texts[key] = scalar_text(value)
            if "script" in texts:
                found.append((texts.get("name", texts["script"]), texts["script"]))
    return found
