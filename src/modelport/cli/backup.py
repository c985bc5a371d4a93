"""`modelport backup`: the platform in one file, while it runs."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.cli import Mistake, home
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    backup = commands.add_parser(
        "backup",
        help="write the platform's state to a file",
        description="Writes all objects, addresses, certificates and tokens to a file, as they are at one moment, while the "
        "platform runs or not. Keep it safe: Secrets lie in it. Models, their cache and logs are not in it.",
    )
    backup.set_defaults(command=run)
    home.add_dir(backup)
    backup.add_argument("file", type=Path, metavar="FILE", help="where to write it, as in platform.backup")
    backup.add_argument(
        "--volumes", action="store_true", help="also what PersistentVolumeClaims hold (volumes/)"
    )


def run(options: argparse.Namespace) -> int:
    """Writes it, and prints its path."""
    from modelport.local.backup import BackupError, save

    folder = home.folder(options)
    home.settings(options)
    target: Path = options.file.expanduser().absolute()
    if target.is_dir():
        raise Mistake(
            f"{target}: is a folder", f"name a file in it: modelport backup {target}/platform.backup"
        )
    try:
        manifest = save(folder, target, version("modelport"), volumes=options.volumes)
    except BackupError as error:
        raise Mistake(str(error)) from error
    print(target)
    note(
        f"{manifest.state.objects} objects, {target.stat().st_size / 1e6:.1f} MB. Secrets lie in it: keep it safe.\n"
        f"Back: modelport down, then modelport restore --force {target}"
    )
    return 0
