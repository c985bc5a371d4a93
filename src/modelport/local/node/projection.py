"""Files made from Secrets and ConfigMaps, changed all at once: a reader sees all of the old ones or all of the new.

As the kubelet has it, which programs that watch such folders know: `FOLDER/name` links to `..data/name`, and `..data`
links to a folder of one moment. A change makes another such folder and turns `..data`.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

DATA = "..data"


def publish(folder: Path, files: Mapping[str, tuple[bytes, int]]) -> bool:
    """Puts files, each with its mode, in place of those before; whether anything has changed. Raises OSError."""
    data = folder / DATA
    if data.is_symlink() and _read(data) == {path: content for path, (content, _) in files.items()}:
        return False
    moment = f"..{secrets.token_hex(6)}"
    for path, (content, mode) in files.items():
        place = folder / moment / path
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)  # whatever this process's umask
    (folder / moment).mkdir(exist_ok=True, mode=0o700)
    _turn(data, moment)
    wanted = {PurePosixPath(path).parts[0] for path in files}
    for name in wanted:
        if not (folder / name).is_symlink():
            _turn(folder / name, f"{DATA}/{name}")
    for found in folder.iterdir():
        stale = found.name.startswith("..") and found.name not in (DATA, moment)
        if found.is_symlink() and found.name not in wanted and found.name != DATA:
            found.unlink()
        elif stale and not found.is_symlink():
            shutil.rmtree(found, ignore_errors=True)
    return True


def _turn(link: Path, target: str) -> None:
    temporary = link.with_name("..turning")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
