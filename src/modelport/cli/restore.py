"""`modelport restore`: a stopped platform as it was when a backup was taken."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from modelport.cli import Mistake, home
from modelport.cli.home import note

if TYPE_CHECKING:
    from modelport.cli import Commands


def register(commands: Commands) -> None:
    """Adds the command."""
    restore = commands.add_parser(
        "restore",
        help="bring the platform's state back from a file",
        description="Makes a stopped platform, or a new one, what it was when FILE was written: a file of modelport backup, or "
        "one of the copies that the platform itself keeps in copies/.",
    )
    restore.set_defaults(command=run)
    home.add_dir(restore)
    restore.add_argument("file", type=Path, metavar="FILE")
    restore.add_argument(
        "--force", action="store_true", help="put aside what is there, in a folder replaced-TIME"
    )
    restore.add_argument(
        "--objects-only",
        action="store_true",
        help="leave addresses, certificates and tokens as they are, or to be chosen anew: a second platform beside the "
        "first one",
    )


def run(options: argparse.Namespace) -> int:
    """Restores it."""
    from modelport.local.backup import BackupError, Manifest, restore

    folder = home.folder(options)
    source: Path = options.file.expanduser().absolute()
    try:
        found = restore(folder, source, objects_only=options.objects_only, force=options.force)
    except BackupError as error:
        raise Mistake(str(error)) from error
    state = found.state if isinstance(found, Manifest) else found
    taken = f", as of {found.taken_at}" if isinstance(found, Manifest) else ""
    note(
        f"{state.objects} objects are back in {folder.path}{taken}.\nStart it: modelport up --detach{home.dir_flag(options)}"
    )
    return 0
