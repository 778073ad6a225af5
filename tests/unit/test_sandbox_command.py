"""What ``python -m sandbox`` says when it cannot do its work."""

from pathlib import Path

import pytest

from sandbox.__main__ import main
from sandbox.errors import SandboxError
from sandbox.server import PostgresServer


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SandboxError("no server here"), "sandbox: no server here\n"),
        (
            PermissionError(13, "Permission denied", "/x/lock"),
            "sandbox: /x/lock belongs to another user: run this",
        ),
    ],
)
def test_errors_are_one_message_without_a_traceback(
    error: Exception,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(server: PostgresServer) -> bool:
        raise error

    monkeypatch.setattr(PostgresServer, "start", fail)
    assert main(["up", "--home", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(message)


def test_other_errors_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(server: PostgresServer) -> bool:
        raise ValueError("a defect")

    monkeypatch.setattr(PostgresServer, "start", fail)
    with pytest.raises(ValueError, match="a defect"):
        main(["up", "--home", str(tmp_path)])


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["restart"])
    assert "up" in capsys.readouterr().err
