"""`modelport up --install-service`: the unit that systemd gets, judged by systemd itself where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from modelport.cli import install_service, main, unit
from modelport.local.folder import Folder

GOLDEN = Path(__file__).parents[2] / "golden" / "unit"


def _render(**changed: object) -> str:
    given = {"system": True, "path": "/opt/modelport/bin:/usr/bin", "more": ()} | changed
    return unit.render("/opt/modelport/bin/python", Path("/srv/models"), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("system", [True, False], ids=["system", "user"])
def test_the_unit(system: bool) -> None:
    """Read the difference before you write it over the golden: a wrong line here is a platform that is not there after
    a reboot."""
    golden = GOLDEN / ("system.service" if system else "user.service")
    assert _render(system=system) == golden.read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize(
    "folder",
    ["/srv/models", "/home/me/my models", '/srv/50% "off" $HOME'],
    ids=["plain", "spaces", "specials"],
)
def test_systemd_understands_it(folder: str, tmp_path: Path) -> None:
    text = unit.render(sys.executable, Path(folder), system=True, path="/usr/bin", more=["--mirror=a=b c"])
    path = tmp_path / "modelport-test.service"
    path.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = [line for line in done.stderr.splitlines() if "modelport-test" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    home = Path("/home/me/.local/share/modelport")
    assert unit.place(home, home, system=True) == Path("/etc/systemd/system/modelport.service")
    assert unit.place(Path("/srv/ml 2"), home, system=True).name == "modelport-srv-ml-2.service"
    assert unit.place(home, home, system=False) == tmp_path / "systemd/user/modelport.service"


def test_without_systemd_the_unit_is_written_and_the_next_steps_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(install_service.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(install_service.shutil, "which", lambda _: None)
    folder = tmp_path / "platform"
    arguments = ["up", "--dir", str(folder), "--port", "8123", "--mirror", "gs://a/=file:///b/"]
    assert main([*arguments, "--install-service"]) == 0
    said = capsys.readouterr()
    text = Path(said.out.strip()).read_text()
    assert f"ExecStart={sys.executable} -m modelport up --dir {folder} --mirror=gs://a/=file:///b/" in text
    assert "systemctl --user daemon-reload" in said.err
    assert "loginctl enable-linger" in said.err
    settings = Folder(folder).settings()
    assert settings is not None
    assert settings.gateway_port == 8123, "what was chosen is kept for the unit's start"
