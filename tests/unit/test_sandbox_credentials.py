"""Passwords with every troublesome character survive the passfile, and certificates are what verify-full needs."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from sandbox import certificates
from sandbox.certificates import ensure_certificates, write_private
from sandbox.credentials import METACHARACTERS, ROLES, ensure_passfile, random_password, read_passfile
from sandbox.errors import SandboxError


def test_passwords_differ_and_hold_every_metacharacter() -> None:
    passwords = {random_password() for _ in range(50)}
    assert len(passwords) == 50
    for password in passwords:
        assert set(METACHARACTERS) <= set(password)
        assert password[0].isalnum() and password[-1].isalnum()
    assert set("}|<?% '\"$\\") <= set(METACHARACTERS)


def test_the_passfile_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "pgpass"
    passwords = ensure_passfile(path)
    assert set(passwords) == set(ROLES)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_passfile(path) == passwords == read_passfile(path)


def test_colon_and_backslash_are_escaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.credentials.random_password", lambda: r"a:b\c\\:d\:e")
    path = tmp_path / "pgpass"
    assert set(ensure_passfile(path).values()) == {r"a:b\c\\:d\:e"}
    assert r":postgres:a\:b\\c\\\\\:d\\\:e" in path.read_text()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda path: path.chmod(0o640), "mode 0640.*chmod 0600"),
        (lambda path: path.write_text("*:*:*:postgres:x\n"), "no entry for gen_user, auditor"),
    ],
)
def test_a_spoilt_passfile_is_an_error(tmp_path: Path, change: object, complaint: str) -> None:
    path = tmp_path / "pgpass"
    ensure_passfile(path)
    assert callable(change)
    change(path)
    with pytest.raises(SandboxError, match=complaint):
        ensure_passfile(path)


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_certificates_are_kept_while_they_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = tmp_path / "ca.crt", tmp_path / "server.crt", tmp_path / "server.key"
    ensure_certificates(*paths)
    first = [path.read_bytes() for path in paths]
    ensure_certificates(*paths)
    assert [path.read_bytes() for path in paths] == first
    monkeypatch.setattr(certificates, "RENEW_BEFORE", certificates.VALIDITY + timedelta(days=1))
    ensure_certificates(*paths)
    assert all(path.read_bytes() != old for path, old in zip(paths, first, strict=True))


def test_the_server_certificate_names_the_server_and_is_signed_by_the_authority(tmp_path: Path) -> None:
    paths = tmp_path / "ca.crt", tmp_path / "server.crt", tmp_path / "server.key"
    ensure_certificates(*paths)
    authority, server = (x509.load_pem_x509_certificate(path.read_bytes()) for path in paths[:2])
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert stat.S_IMODE(paths[2].stat().st_mode) == 0o600
    with pytest.raises(ValueError):
        authority.verify_directly_issued_by(server)
