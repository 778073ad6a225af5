"""Where code is read from: folders, and commits of repositories whose work trees stay as they are."""

import os
import subprocess
from pathlib import Path

import pytest
from ansible.module_utils.rollout.audit import run
from ansible.module_utils.rollout.audit.extraction import audit
from ansible.module_utils.rollout.audit.sources import Commit, Folder, open_source
from ansible.module_utils.rollout.errors import SourceError

CALL = "const f = (db) => db.from('%s').select('a');\n"


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=T", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")
    ran = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return ran.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits, and a work tree with changes that nobody committed."""
    folder = tmp_path / "application"
    (folder / "src" / "node_modules").mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "src" / "a b.js").write_text(CALL % "first")
    (folder / "src" / "node_modules" / "x.js").write_text(CALL % "foreign")
    (folder / "other.js").write_text(CALL % "other")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=one")
    git(folder, "tag", "v1")
    (folder / "src" / "a b.js").write_text(CALL % "second")
    git(folder, "commit", "--quiet", "--all", "--message=two")
    (folder / "src" / "a b.js").write_text(CALL % "uncommitted")
    (folder / "src" / "new.js").write_text(CALL % "untracked")
    return folder


def tables(folder: Path, commit: str = "", *exclude: str) -> list[str]:
    return [table for chain in run.find(str(folder), commit, exclude).chains for table in chain.tables]


def test_a_folder_is_read_as_it_lies_there(repository: Path) -> None:
    assert tables(repository) == ["other", "uncommitted", "untracked"]
    assert tables(repository, "", "src") == ["other"]


def test_a_commit_is_read_without_touching_the_work_tree(repository: Path) -> None:
    before = git(repository, "status", "--porcelain")
    index = (repository / ".git" / "index").stat().st_mtime_ns
    assert tables(repository, "v1") == ["other", "first"]
    assert tables(repository, "main") == ["other", "second"]
    assert tables(repository / "src", "v1") == ["first"]
    # Before git status, which may write the index itself.
    assert (repository / ".git" / "index").stat().st_mtime_ns == index
    assert git(repository, "status", "--porcelain") == before


def test_a_bare_repository_is_enough(repository: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), str(bare))
    found = run.find(str(bare), "v1")
    assert [table for chain in found.chains for table in chain.tables] == ["other", "first"]
    assert found.commit == git(repository, "rev-parse", "v1")


def test_what_is_left_out_is_said(repository: Path, tmp_path: Path) -> None:
    (repository / "link.js").symlink_to("other.js")
    found = audit(open_source(str(repository)))
    said = {(note.file, note.reason) for note in found.skipped}
    assert {(".git", "is an excluded folder"), ("src/node_modules", "is an excluded folder")} <= said
    assert ("link.js", "is a symbolic link") in said
    git(repository, "add", "link.js")
    git(repository, "commit", "--quiet", "--message=link")
    found = run.find(str(repository), "main")
    said = {(note.file, note.reason) for note in found.skipped}
    assert said == {("src/node_modules", "is an excluded folder"), ("link.js", "is a symbolic link")}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_is_closed_is_said(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    try:
        found = audit(Folder(tmp_path))
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert [(note.file, note.reason) for note in found.skipped] == [
        ("closed/", "cannot be read: Permission denied")
    ]


def test_what_is_not_there_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere is not a folder"):
        open_source(str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="git rev-parse"):
        Commit(repository, "no-such-commit")
    with pytest.raises(SourceError, match="names no commit"):
        Commit(repository, "--help")
    with pytest.raises(SourceError, match="git rev-parse"):
        Commit(tmp_path, "main")
    with pytest.raises(SourceError, match=r"entry point gone\.js is not among"):
        run.find(str(repository), "main", (), ("gone.js",))
