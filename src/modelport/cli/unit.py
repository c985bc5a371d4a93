"""The systemd unit that starts a platform with the machine, or with its user's first login: pure text, and where it goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

NAME = "modelport"
TEMPLATE = """\
[Unit]
Description=Modelport, models behind KServe's API ({folder})
{after}
[Service]
Type=exec
ExecStart={start}
ExecStop={stop}
# ExecStop ends everything in order: no new requests, then models, then what they report to. Where the supervisor alone
# dies, the others go on serving, and the next one finds them.
KillMode=process
TimeoutStopSec=120
Restart=always
RestartSec=2
# A pod is a process with files and connections of its own.
LimitNOFILE=65536
TasksMax=infinity
# Models do their own accounting of memory; should the machine run out of it, one of them goes, not the supervisor.
OOMPolicy=continue
Environment=PATH={path}

[Install]
WantedBy={wanted_by}
"""


def render(python: str, folder: Path, *, system: bool, path: str, more: Sequence[str] = ()) -> str:
    """The unit's text. `more`: flags of `modelport up` beside `--dir`."""
    command = [python, "-m", "modelport"]
    return TEMPLATE.format(
        folder=_escaped(str(folder)),
        start=" ".join(map(_quoted, [*command, "up", "--dir", str(folder), *more])),
        stop=" ".join(map(_quoted, [*command, "down", "--dir", str(folder)])),
        path=_quoted(path),
        after="After=network-online.target\nWants=network-online.target\n" if system else "",
        wanted_by="multi-user.target" if system else "default.target",
    )


def place(folder: Path, default: Path, *, system: bool) -> Path:
    """Where the unit of a platform's folder lies: the default folder's is `modelport.service`."""
    name = NAME if folder == default else f"{NAME}-{_word(folder)}"
    if system:
        return Path("/etc/systemd/system") / f"{name}.service"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "systemd" / "user" / f"{name}.service"


def _word(folder: Path) -> str:
    """A folder's path as systemd would write it in a unit's name: `/srv/models` is `srv-models`."""
    return "".join(c if c.isalnum() or c in "_." else "-" for c in str(folder).strip("/"))


def _escaped(text: str) -> str:
    """`%` begins a specifier everywhere in a unit."""
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a command line."""
    escaped = _escaped(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"' if not text or any(c in text for c in " \t'\";\\$") else escaped
