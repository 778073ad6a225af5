"""Which file imports which, and which of them the running services reach."""

from __future__ import annotations

import json
import posixpath
import re
from collections import deque
from collections.abc import Iterable, Mapping

_NAMED = rb"""\s*['"`]([^'"`\n$]+)['"`]"""
#: A word that a search for fixed text finds first, and what must follow it: this runs over every byte of the code.
_REQUESTS = tuple(
    (word, re.compile(word + following + _NAMED))
    for word, following in (
        (b"require", rb"(?:\.resolve)?\s*\("),
        (b"from", b""),
        (b"import", rb"\s*\(?"),
        (b"fork", rb"\s*\("),
        (b"Worker", rb"\s*\("),
    )
)
_ENDINGS = ("", ".js", ".ts", ".tsx", ".jsx", ".mjs", ".cjs", ".mts", ".cts")
_INDEXES = tuple(f"/index{ending}" for ending in _ENDINGS[1:])
_COMMENTS = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
CONFIGURATIONS = ("tsconfig.json", "jsconfig.json", "package.json")


def requests(text: bytes) -> list[str]:
    """Every module that a file names in ``require``, ``import``, ``export … from``, ``fork`` or ``new Worker``.

    Taken from the text: a commented-out import counts, so that reach is never too small by it.
    """
    return [
        request.decode("utf-8", "replace")
        for word, pattern in _REQUESTS
        if word in text
        for request in pattern.findall(text)
    ]


class Resolver:
    """From the name in an import to a file of the code base.

    :param files: every file
    :param aliases: beginnings of requests, and the folder or file that each stands for
    """

    def __init__(self, files: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self._files = frozenset(files)
        self._aliases = dict(aliases or {})

    def resolve(self, file: str, request: str) -> str | None:
        """The file that a request means, or ``None`` for a package or a file that is not there."""
        if request.startswith("."):
            return self._existing(posixpath.normpath(posixpath.join(posixpath.dirname(file), request)))
        for alias, target in self._aliases.items():
            if request == alias.rstrip("/") or request.startswith(
                alias if alias.endswith("/") else alias + "/"
            ):
                rest = request[len(alias.rstrip("/")) :].lstrip("/")
                found = self._existing(posixpath.normpath(posixpath.join(target, rest)))
                if found:
                    return found
        return None

    def _existing(self, path: str) -> str | None:
        if path.startswith("../"):
            return None
        for ending in (*_ENDINGS, *_INDEXES):
            if path + ending in self._files:
                return path + ending
        stem, dot, ending = path.rpartition(".")
        if dot and ending in ("js", "mjs", "cjs", "jsx"):
            # TypeScript's modules name the file that will be compiled.
            for typed in (f"{stem}.{ending.replace('js', 'ts')}", f"{stem}.tsx"):
                if typed in self._files:
                    return typed
        return None


def aliases(name: str, text: bytes) -> dict[str, str]:
    """Aliases of a ``tsconfig.json`` (``paths``) or a ``package.json`` (``_moduleAliases``, ``imports``) at the top.

    :raises ValueError: the file is not valid JSON
    """
    plain = _COMMENTS.sub(lambda match: match[1] or "", text.decode("utf-8-sig"))
    content = json.loads(re.sub(r",(\s*[}\]])", r"\1", plain))
    found: dict[str, str] = {}
    if not isinstance(content, dict):
        return found
    if name == "package.json":
        for key in ("_moduleAliases", "imports"):
            for alias, target in (content.get(key) or {}).items():
                if isinstance(target, str):
                    found[alias.removesuffix("*")] = target.removesuffix("*")
        return found
    options = content.get("compilerOptions") or {}
    base = options.get("baseUrl") or "."
    for alias, targets in (options.get("paths") or {}).items():
        if targets:
            found[alias.removesuffix("*")] = posixpath.normpath(
                posixpath.join(base, targets[0].removesuffix("*"))
            )
    return found


def reach(
    imports: Mapping[str, Iterable[str]], entry_points: Iterable[tuple[str, str]]
) -> dict[str, list[str]]:
    """Which services reach each file.

    :param imports: the files that each file imports
    :param entry_points: a service's name and its first file
    :returns: names of services by file; a file that no service reaches is not in it
    """
    found: dict[str, list[str]] = {}
    for name, start in sorted(set(entry_points)):
        waiting, seen = deque([start]), {start}
        while waiting:
            file = waiting.popleft()
            found.setdefault(file, []).append(name)
            for target in imports.get(file, ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
    return found
