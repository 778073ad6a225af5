"""JavaScript inside other files: heredocs and ``node -e`` of shell scripts, ``<script>`` of pages.

What is not JavaScript is replaced by blanks, byte for byte, so that lines and columns stay the file's.
"""

from __future__ import annotations

import re

_HEREDOC = re.compile(
    rb"(?<!<)<<(?P<dash>-?)\s*(?P<quote>['\"\\]?)(?P<word>[A-Za-z_]\w*)['\"]?(?P<rest>[^\n]*)\n"
)
_EVAL = re.compile(
    rb"\b(?:node|nodejs|bun|deno|tsx|ts-node)\b(?:[ \t]+(?:[^\s'\"|;&<>]+|\\\n))*?[ \t]+"
    rb"(?:-e|-p|-pe|--eval|--print|eval)[ \t=]+(?P<quote>'\\''|\\?['\"])"
)
#: Between these the shell changes nothing.
_AS_IS = (b"'", rb"'\''")
_SCRIPT = re.compile(rb"<script\b(?P<attributes>[^>]*)>(?P<body>.*?)</script\s*>", re.IGNORECASE | re.DOTALL)
_OTHER_TYPE = re.compile(
    rb"type\s*=\s*['\"]?(?!module|text/javascript|text/babel|application/javascript|text/typescript)", re.I
)
#: In an unquoted heredoc or inside double quotes the shell takes these for itself.
_SHELL_ESCAPE = re.compile(rb"\\(?=[$`\"\\])")


def is_shell(path: str, text: bytes) -> bool:
    """A shell script by its name or its first line."""
    if path.endswith((".sh", ".bash", ".zsh", ".ksh", ".command")):
        return True
    first = text[:80].split(b"\n", 1)[0]
    return first.startswith(b"#!") and re.search(rb"\b(?:ba|z|k|da)?sh\b", first) is not None


def is_page(path: str) -> bool:
    """A page with scripts in it."""
    return path.endswith((".html", ".htm", ".vue", ".svelte", ".astro"))


def shell_parts(text: bytes) -> list[bytes]:
    """Every piece of JavaScript of a shell script, each blanked out to its place.

    A heredoc whose text is not JavaScript is among them: it holds no call, or the caller says that it cannot be parsed.
    """
    found = []
    taken: list[tuple[int, int]] = []
    at = 0
    while opening := _HEREDOC.search(text, at):
        tabs = rb"\t*" if opening["dash"] else b""
        closing = re.compile(rb"^" + tabs + re.escape(opening["word"]) + rb"[ \t]*$", re.MULTILINE)
        end = closing.search(text, opening.end())
        stop = end.start() if end else len(text)
        body = text[opening.end() : stop]
        if not opening["quote"]:
            body = _unescaped(body)
        found.append(_blanked(text, opening.end(), stop, body))
        taken.append((opening.start(), stop))
        at = stop
    for match in _EVAL.finditer(text):
        if any(start <= match.start() < stop for start, stop in taken):
            continue
        begin, stop = match.end(), _closing_quote(text, match.end(), match["quote"])
        body = text[begin:stop]
        found.append(_blanked(text, begin, stop, body if match["quote"] in _AS_IS else _unescaped(body)))
    return found


def page_parts(text: bytes) -> list[tuple[bytes, bool]]:
    """Every script of a page, each blanked out to its place, and whether it is TypeScript."""
    found = []
    for match in _SCRIPT.finditer(text):
        attributes = match["attributes"]
        if _OTHER_TYPE.search(attributes):
            continue
        typed = re.search(rb"lang\s*=\s*['\"]?tsx?\b", attributes) is not None
        found.append((_blanked(text, match.start("body"), match.end("body"), match["body"]), typed))
    return found


def _closing_quote(text: bytes, start: int, quote: bytes) -> int:
    r"""Where a program that is given in quotes ends.

    :param quote: a plain one; ``\"`` inside of a text in double quotes (``ssh host "node -e \"…\""``); or ``'\''``,
    which is how a single quote is written inside of single quotes
    """
    if quote == rb"'\''":
        end = text.find(quote, start)
        return end if end >= 0 else len(text)
    at = start
    while at < len(text):
        if quote == rb"\"" and text[at : at + 2] == rb"\\":
            at += 4  # a quotation mark of the program itself: \\\"
        elif text.startswith(quote, at):
            return at
        else:
            at += 2 if quote == b'"' and text[at : at + 1] == b"\\" else 1
    return len(text)


def _unescaped(body: bytes) -> bytes:
    """The shell's backslashes become blanks, so that nothing moves."""
    return _SHELL_ESCAPE.sub(b" ", body)


def _blanked(text: bytes, start: int, stop: int, body: bytes) -> bytes:
    return _blank(text[:start]) + body + _blank(text[stop:])


def _blank(text: bytes) -> bytes:
    return re.sub(rb"[^\n]", b" ", text)
