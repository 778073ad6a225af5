"""Where the code comes from: a folder, or a commit of a git repository that is read without touching its work tree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from ansible.module_utils.rollout.errors import SourceError

#: Folders that hold other people's code, or none.
EXCLUDED_FOLDERS = frozenset({"node_modules", ".git", ".hg", ".svn", "bower_components"})
#: A larger file is data or a bundle.
MAX_BYTES = 8 * 1024 * 1024


class Source(Protocol):
    """A tree of files. Paths are relative to it, with ``/``."""

    name: str
    commit: str

    def files(self) -> list[str]:
        """Every file, in order, those of excluded folders left out."""

    def left_out(self) -> list[tuple[str, str]]:
        """What is not among :meth:`files`, with the reason."""

    def read(self, path: str) -> bytes:
        """A file's bytes.

        :raises OSError: it cannot be read
        """


class Folder:
    """A folder on this machine."""

    commit = ""

    def __init__(self, root: Path, exclude: frozenset[str] = frozenset()) -> None:
        if not root.is_dir():
            raise SourceError(
                f"{root} is not a folder",
                hint="audit_source names the folder that holds the application's code.",
            )
        self.name = str(root)
        self._root = root
        self._exclude = EXCLUDED_FOLDERS | exclude
        self._left_out: list[tuple[str, str]] = []

    def files(self) -> list[str]:
        self._left_out = []
        return sorted(self._walk(self._root, ""))

    def _walk(self, folder: Path, prefix: str) -> Iterator[str]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._left_out.append((prefix or ".", f"cannot be read: {error.strerror}"))
            return
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_symlink():
                self._left_out.append((path, "is a symbolic link"))
            elif entry.is_dir():
                if entry.name in self._exclude or path in self._exclude:
                    self._left_out.append((path, "is an excluded folder"))
                else:
                    yield from self._walk(folder / entry.name, f"{path}/")
            elif entry.is_file():
                yield path
            else:
                self._left_out.append((path, "is not a regular file"))

    def left_out(self) -> list[tuple[str, str]]:
        return list(self._left_out)

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()


class Commit:
    """A commit of a repository, bare or not. Only objects are read: no work tree, no index, no hooks."""

    def __init__(self, repository: Path, commit: str, exclude: frozenset[str] = frozenset()) -> None:
        if not repository.is_dir():
            raise SourceError(f"{repository} is not a folder", hint="audit_source names a git repository.")
        if not commit or commit.startswith("-"):
            raise SourceError(
                f"{commit!r} names no commit", hint="audit_commit is a hash, a branch or a tag."
            )
        self._repository = repository
        self.commit = (
            self._git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").decode().strip()
        )
        self._prefix = ""
        if self._git("rev-parse", "--is-inside-work-tree").strip() == b"true":
            self._prefix = self._git("rev-parse", "--show-prefix").decode().strip("\n")
        self.name = str(repository)
        self._exclude = EXCLUDED_FOLDERS | exclude
        self._objects: dict[str, str] = {}
        self._left_out: list[tuple[str, str]] = []
        self._reader: subprocess.Popen[bytes] | None = None

    def files(self) -> list[str]:
        self._left_out = []
        folders: set[str] = set()
        listed = self._git("ls-tree", "-r", "-z", "--full-tree", self.commit)
        for line in listed.split(b"\0"):
            if not line:
                continue
            mode, _, rest = line.partition(b" ")
            kind, _, rest = rest.partition(b" ")
            name, _, raw = rest.partition(b"\t")
            path = raw.decode("utf-8", "surrogateescape")
            if not path.startswith(self._prefix):
                continue
            path = path.removeprefix(self._prefix)
            excluded = self._excluded(path)
            if excluded:
                folders.add(excluded)
            elif mode == b"120000":
                self._left_out.append((path, "is a symbolic link"))
            elif kind != b"blob":
                self._left_out.append((path, "is a submodule"))
            else:
                self._objects[path] = name.decode()
        self._left_out += [(folder, "is an excluded folder") for folder in sorted(folders)]
        return sorted(self._objects)

    def _excluded(self, path: str) -> str:
        parents = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
        return next(
            (
                folder
                for folder in reversed(parents)
                if folder in self._exclude or folder.rpartition("/")[2] in self._exclude
            ),
            "",
        )

    def left_out(self) -> list[tuple[str, str]]:
        return list(self._left_out)

    def read(self, path: str) -> bytes:
        if self._reader is None:
            self._reader = subprocess.Popen(
                ["git", "-C", str(self._repository), "cat-file", "--batch"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        requests, answers = self._reader.stdin, self._reader.stdout
        if requests is None or answers is None or path not in self._objects:
            raise FileNotFoundError(2, "is not in the commit", path)
        requests.write(self._objects[path].encode() + b"\n")
        requests.flush()
        header = answers.readline().split()
        if len(header) != 3:
            raise OSError(5, "git does not have the object", path)
        content = answers.read(int(header[2]))
        answers.read(1)
        return content

    def close(self) -> None:
        """End the git process that reads objects."""
        if self._reader is not None:
            if self._reader.stdin is not None:
                self._reader.stdin.close()
            self._reader.wait()
            if self._reader.stdout is not None:
                self._reader.stdout.close()
            self._reader = None

    def _git(self, *arguments: str) -> bytes:
        try:
            ran = subprocess.run(
                ["git", "-C", str(self._repository), *arguments], capture_output=True, check=False
            )
        except FileNotFoundError:
            raise SourceError(
                "git is not installed on the control node",
                hint="Install it, or give audit_source a folder without audit_commit.",
            ) from None
        if ran.returncode:
            said = ran.stderr.decode("utf-8", "replace").strip()
            raise SourceError(
                f"git {arguments[0]} in {self._repository} failed: {said}",
                hint="audit_source must name a git repository, audit_commit a commit that is in it.",
            )
        return ran.stdout


def open_source(path: str, commit: str = "", exclude: tuple[str, ...] = ()) -> Folder | Commit:
    """The code to audit.

    :param path: folder, or repository
    :param commit: hash, branch or tag; empty for the files as they lie in the folder
    :param exclude: names or paths of further folders to leave out
    :raises SourceError: there is no such folder, repository or commit
    """
    left_out = frozenset(name.strip("/") for name in exclude)
    return Commit(Path(path), commit, left_out) if commit else Folder(Path(path), left_out)
