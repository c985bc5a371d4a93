"""`modelport up --install-service`: the platform comes up with the machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from modelport.cli import Mistake, home, unit
from modelport.cli.home import note


def install(folder: Path, more: Sequence[str]) -> None:
    """Writes the unit, enables and starts it. Root gets a unit of the system, everybody else one of their own. Mistake."""
    system = os.geteuid() == 0
    path = unit.place(folder, home.default().absolute(), system=system)
    text = unit.render(
        sys.executable, folder, system=system, path=os.environ.get("PATH", os.defpath), more=more
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise Mistake(f"--install-service: {path} cannot be written: {error.strerror}") from error
    print(path)
    scope = [] if system else ["--user"]
    steps = [["systemctl", *scope, "daemon-reload"], ["systemctl", *scope, "enable", "--now", path.name]]
    if not system:
        # Without it a user's services end with the last login, and begin with the first.
        steps.append(["loginctl", "enable-linger"])
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        lines = "\n".join("  " + " ".join(step) for step in steps)
        note(f"systemd does not run here. Where it does, go on with:\n{lines}")
        return
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
        if done.returncode:
            raise Mistake(
                f"--install-service: {' '.join(step)}: {done.stderr.strip() or done.returncode}",
                f"the unit is in {path}; systemctl {' '.join([*scope, 'status', path.name])} says more",
            )
    note(
        f"{path.name} is enabled and runs. Its log: journalctl {' '.join(['--user'] * (not system))} -u {path.stem}\n"
        f"Off again: systemctl {' '.join([*scope, 'disable', '--now', path.name])}"
    )
