"""Which files are archives, and what one may become: known without the libraries that open them."""

from __future__ import annotations

from dataclasses import dataclass

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
ZIP_ENDINGS = (".zip",)


@dataclass(frozen=True)
class Limits:
    """What an archive may become."""

    bytes: int = 1 << 40
    """Most bytes, unpacked (default 1 TiB)."""
    ratio: int = 200
    """Most unpacked bytes for a packed one, once 256 MiB are unpacked."""
    files: int = 100_000
    """Most members."""


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked when it is all there is (KServe's rule, and zstd)."""
    return name.lower().endswith(TAR_ENDINGS + ZIP_ENDINGS)
