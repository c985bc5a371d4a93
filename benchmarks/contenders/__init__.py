"""The servers that are compared, one file each: how to install it, how to start it, what it cannot.

A file's `CONTENDERS` lists its variants (a server as it comes, and with its options set for
speed); all of a file's variants share one virtual environment, pinned in the `.txt` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HERE = Path(__file__).parent
INSIDE = HERE.parent / "inside"
MODEL_NAME = "bench"


@dataclass(frozen=True)
class Site:
    """Where a server is to run: its environment, what it serves, and on which ports."""

    env: Path
    workload: str
    model: Path  # the folder that `inside/train.py` filled
    scratch: Path  # an empty folder
    http_port: int
    grpc_port: int

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.env / "bin" / "python"


@dataclass(frozen=True)
class Launch:
    """A command and what it needs besides the environment that all contenders get."""

    argv: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """One server in one configuration."""

    name: str
    family: str
    title: str
    launch: Callable[[Site], Launch]
    packages: tuple[str, ...]  # whose versions the report names
    # (workload, protocol) -> why it is left out
    skips: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def requirements(self) -> Path:
        """The pins of its environment."""
        return HERE / f"{self.family}.txt"


def known() -> list[Contender]:
    """All contenders, in the order of the report."""
    from contenders import kserve, mlserver, modelport, triton

    modules = (modelport, kserve, triton, mlserver)
    return [contender for module in modules for contender in module.CONTENDERS]


def choose(names: list[str]) -> list[Contender]:
    """Contenders by name, or all variants of a family."""
    contenders = known()
    unknown = [n for n in names if all(n not in (c.name, c.family) for c in contenders)]
    if unknown:
        have = ", ".join([*dict.fromkeys(c.family for c in contenders)])
        exact = ", ".join(c.name for c in contenders)
        raise SystemExit(
            f"error: --contenders: unknown {', '.join(unknown)}\n\n"
            f"hint: families are {have}; single variants are {exact}"
        )
    return [c for c in contenders if c.name in names or c.family in names]
