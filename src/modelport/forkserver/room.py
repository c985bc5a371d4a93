"""Entering namespaces, in a process that has just been forked and has one thread."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from pathlib import Path

from modelport.wire.fork import Mount, Room

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x04000000, 0x10000000, 0x40000000
MNT_DETACH = 0x2
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
_KEPT = {
    "nosuid": 0x2,
    "nodev": 0x4,
    "noexec": 0x8,
    "noatime": 0x400,
    "nodiratime": 0x800,
    "relatime": 0x200000,
}
"""Flags of a mount that a user namespace may not take away when it remounts."""

COVER = ".cover"
"""Where a cover is made, in the process's folder."""
_libc = ctypes.CDLL(None, use_errno=True)


class Shut(Exception):
    """A namespace cannot be entered or furnished. The message says which step failed and what to do."""


def enter(room: Room, folder: Path) -> None:
    """Enters the room and puts its mounts in place; `folder` is the process's own. Raises Shut."""
    # All files are opened before the first step: afterwards /proc may show another world.
    files = [
        (kind, os.open(path, os.O_RDONLY | os.O_CLOEXEC), path)
        for kind, path in (
            (CLONE_NEWUSER, room.user),
            (CLONE_NEWNET, room.network),
            (CLONE_NEWNS, room.mount),
        )
        if path
    ]
    for kind, descriptor, path in files:
        _check(_libc.setns(descriptor, kind), f"entering {path}")
        os.close(descriptor)
    if room.hostname:
        _check(_libc.unshare(CLONE_NEWUTS), "a host name of its own")
        socket.sethostname(room.hostname[:64])
    if room.mounts and not room.mount:
        _check(_libc.unshare(CLONE_NEWNS), "a mount namespace of its own")
        _mount("none", "/", MS_REC | MS_PRIVATE)
        for number, mount in enumerate(room.mounts):
            _bind(mount, folder, [Path(one.target) for one in room.mounts[:number]])


def _bind(mount: Mount, own: Path, mounted: list[Path]) -> None:
    target = Path(mount.target)
    is_folder = Path(mount.source).is_dir()
    try:
        try:
            around = next(one for one in (target, *target.parents) if one.exists())
            # Root could make it, and would leave it behind on the machine.
            if around != target and _is_the_machines(around, mounted):
                _cover(around, own / COVER)
            _place(target, is_folder=is_folder)
        except PermissionError:
            _cover(next(parent for parent in target.parents if parent.is_dir()), own / COVER)
            _place(target, is_folder=is_folder)
    except OSError as error:
        raise Shut(_no_place(mount.target, error)) from error
    _mount(mount.source, mount.target, MS_BIND | MS_REC)
    if mount.read_only:
        _mount("none", mount.target, MS_REMOUNT | MS_BIND | MS_RDONLY | _flags(mount.target))


def _is_the_machines(folder: Path, mounted: list[Path]) -> bool:
    """Whether what is made there stays, in a place where users make nothing: no volume, nor /tmp and its like. Not `/`, which
    can be covered for a process alone, but not for those that come to it later (exec, probes)."""
    if folder == Path("/") or any(folder.is_relative_to(one) for one in mounted):
        return False
    return not folder.stat().st_mode & 0o002


def _no_place(target: str, error: OSError) -> str:
    return (
        f"mountPath {target}: there is no such place on this machine and it cannot be made "
        f"({error.strerror}). Make it once: sudo mkdir -p {target}"
    )


def _place(target: Path, *, is_folder: bool) -> None:
    """Something to mount upon. Raises OSError."""
    if is_folder:
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _cover(folder: Path, spare: Path) -> None:
    """Puts a folder that this user may write to over one that he may not, with all that is in it. Raises OSError, Shut.

    In this mount namespace only: what is made in it is nowhere on the machine.
    """
    spare.mkdir(exist_ok=True, mode=0o700)
    _mount("none", str(spare), 0, "tmpfs")
    for entry in os.scandir(folder):
        twin = spare / entry.name
        if entry.is_symlink():
            twin.symlink_to(Path(entry.path).readlink())
            continue
        _place(twin, is_folder=entry.is_dir())
        with contextlib.suppress(Shut):  # what may not be looked into stays empty
            _mount(entry.path, str(twin), MS_BIND | MS_REC)
    if folder == Path("/"):
        os.chroot(spare)
        return
    _mount(str(spare), str(folder), MS_BIND | MS_REC)
    _check(_libc.umount2(os.fsencode(spare), MNT_DETACH), f"covering {folder}")
    with contextlib.suppress(OSError):  # below a covered `/` it is seen twice
        spare.rmdir()


def _flags(target: str) -> int:
    """Flags of the mount at `target`, which a remount has to repeat."""
    found = 0
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[4] == target:
            found = sum(_KEPT.get(option, 0) for option in fields[5].split(","))
    return found


def _mount(source: str, target: str, flags: int, kind: str = "") -> None:
    kinds = kind.encode() or None
    done = _libc.mount(source.encode(), target.encode(), kinds, ctypes.c_ulong(flags), None)
    _check(done, f"mounting {source} at {target}")


def _check(result: int, step: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise Shut(f"{step}: {os.strerror(number)}. `modelport doctor` says what this machine allows.")
