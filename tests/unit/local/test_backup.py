"""A platform in one file, and back: nothing that its users know it by is lost, and no bad file replaces a good state."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pytest

from modelport.cli import main
from modelport.local import backup
from modelport.local.apiserver import state_file
from modelport.local.backup import BackupError
from modelport.local.folder import Folder, Settings


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = _folder(tmp_path / "first")
    _add(made, "a")
    return made


def _folder(path: Path) -> Folder:
    folder = Folder(path)
    folder.make()
    folder.keep(Settings(gateway_port=8080, api_port=8443, pod_network="127.77"))
    for name in (
        "tokens.json",
        "kubeconfig",
        "kubeconfig-view",
        "api-keys",
        "pki/ca.pem",
        "pki/server.key",
    ):
        (path / name).write_text(f"{name} of {path.name}")
    (folder.volumes / "default").mkdir()
    (folder.volumes / "default" / "model").write_bytes(b"weights")
    state_file.open_file(folder.database).close()
    return folder


def _add(folder: Folder, name: str) -> None:
    connection = sqlite3.connect(folder.database)
    number = connection.execute(
        "INSERT INTO log VALUES (NULL, 0, 0, 0, 'pods', 'default', ?, '{}')", (name,)
    ).lastrowid
    connection.execute("INSERT INTO current VALUES ('pods', 'default', ?, ?)", (name, number))
    connection.commit()
    connection.close()


def _names(folder: Folder) -> list[str]:
    connection = sqlite3.connect(folder.database)
    found = [row[0] for row in connection.execute("SELECT name FROM current ORDER BY name")]
    connection.close()
    return found


def test_a_platform_moves_with_all_that_clients_know_it_by(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "platform.backup"
    manifest = backup.save(folder, file, "1.2.3", volumes=True)
    assert (manifest.state.objects, manifest.modelport) == (1, "1.2.3")
    assert file.stat().st_mode & 0o077 == 0, "Secrets lie in it"
    second = Folder(tmp_path / "second")
    backup.restore(second, file)
    assert _names(second) == ["a"]
    assert second.settings() == folder.settings()
    assert (second.path / "kubeconfig").read_text() == "kubeconfig of first"
    assert second.key.read_text() == "pki/server.key of first"
    assert second.key_file.read_text() == "api-keys of first"
    assert second.key_file.stat().st_mode & 0o077 == 0, "one that others may write opens nothing"
    assert second.key.stat().st_mode & 0o077 == 0
    assert (second.volumes / "default" / "model").read_bytes() == b"weights"


def test_what_is_there_is_put_aside_and_only_if_that_is_wanted(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "platform.backup"
    backup.save(folder, file, "1")
    _add(folder, "b")
    with pytest.raises(BackupError, match=r"is here already\. --force puts it aside"):
        backup.restore(folder, file)
    assert _names(folder) == ["a", "b"]
    backup.restore(folder, file, force=True)
    assert _names(folder) == ["a"]
    (aside,) = folder.path.glob("replaced-*")
    assert _names(Folder(aside)) == ["a", "b"], "a mistaken restore can be undone"
    assert (folder.volumes / "default" / "model").exists(), "without --volumes they are left alone"


def test_objects_alone_leave_addresses_and_tokens(folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "platform.backup"
    backup.save(folder, file, "1")
    second = Folder(tmp_path / "second")
    backup.restore(second, file, objects_only=True)
    assert _names(second) == ["a"]
    assert second.settings() is None
    assert not second.kubeconfig.exists()


def test_a_copy_of_the_state_alone_is_enough(folder: Folder, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    state_file.copy(folder.database, copy)
    folder.database.write_bytes(b"torn" * 3000)
    backup.restore(folder, copy, force=True)
    assert _names(folder) == ["a"]
    assert (folder.path / "kubeconfig").exists()


@pytest.mark.parametrize("bad", ["torn", "changed", "text", "empty", "other", "newer", "outside", "missing"])
def test_a_bad_file_replaces_nothing(bad: str, folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "platform.backup"
    backup.save(folder, file, "1")
    content = file.read_bytes()
    if bad == "torn":
        file.write_bytes(content[: len(content) // 2])
    elif bad == "changed":
        _repack(file, {"state.db": b"SQLite format 3\0" + bytes(5000)})
    elif bad == "text":
        file.write_text("this is no backup")
    elif bad == "empty":
        file.write_bytes(b"")
    elif bad == "other":
        with tarfile.open(file, "w:gz") as archive:
            archive.add(folder.kubeconfig, "kubeconfig")
    elif bad == "newer":
        _repack(file, {"backup.json": _manifest(file).replace(b'"format": 1', b'"format": 9', 1)})
    elif bad == "outside":
        _repack(file, {"../outside": b"x"})
    else:
        file.unlink()
    with pytest.raises(BackupError, match=str(file)) as refused:
        backup.restore(folder, file, force=True)
    assert ".restore." not in str(refused.value), "a temporary path helps nobody"
    assert _names(folder) == ["a"]
    assert not list(folder.path.glob("replaced-*"))
    assert not (tmp_path / "outside").exists()
    assert not list(folder.path.glob(".restore.*"))


def _manifest(file: Path) -> bytes:
    with tarfile.open(file) as archive:
        found = archive.extractfile("backup.json")
        assert found is not None
        return found.read()


def _repack(file: Path, replaced: dict[str, bytes]) -> None:
    import io

    with tarfile.open(file) as archive:
        held = {item.name: archive.extractfile(item).read() for item in archive}  # type: ignore[union-attr]
    with tarfile.open(file, "w:gz") as archive:
        for name, content in (held | replaced).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_a_running_platform_is_not_replaced(folder: Folder, tmp_path: Path) -> None:
    import os

    file = tmp_path / "platform.backup"
    backup.save(folder, file, "1")
    held = state_file.lock(folder.database)
    try:
        with pytest.raises(BackupError, match=r"in use by another API server.*modelport down"):
            backup.restore(folder, file, force=True)
    finally:
        os.close(held)


def test_a_place_that_cannot_be_written_is_said(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match=r"nowhere/platform.backup: cannot be written: No such file"):
        backup.save(folder, tmp_path / "nowhere" / "platform.backup", "1")


def test_the_commands(folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "platform.backup"
    assert main(["backup", "--dir", str(folder.path), str(file)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{file}\n"
    assert "1 objects" in said.err
    assert "Secrets lie in it" in said.err
    assert main(["restore", "--dir", str(folder.path), str(file)]) == 2
    assert "error: " in capsys.readouterr().err
    assert main(["restore", "--dir", str(tmp_path / "new"), str(file)]) == 0
    assert "1 objects are back" in capsys.readouterr().err
    assert main(["backup", "--dir", str(tmp_path / "none"), str(file)]) == 2
    assert "no platform in" in capsys.readouterr().err
    assert main(["backup", "--dir", str(folder.path), str(tmp_path)]) == 2
