"""What a model says that it needs: `requirements.txt`, or the pip part of `conda.yaml`, in its folder."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import msgspec

from modelport.kube.part import mapping

PIP, CONDA = "requirements.txt", "conda.yaml"
FORM = "1"
"""Of the environments that are built; another one builds them anew."""
_NESTED = re.compile(r"^(?:-r|--requirement|-c|--constraint)[ =]?(.+)$")
_COMMENT = re.compile(r"(^|\s)#.*$")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Packages that a model asks for."""

    source: str
    """File and place, for people: `requirements.txt of file:///models/churn`."""
    folder: Path
    """Where relative paths in it lead."""
    lines: tuple[str, ...]
    """Without comments."""
    file: Path | None = None
    """The model's own requirements.txt, for what it names lies beside it; None where the lines come from another file."""

    @property
    def key(self) -> str:
        """The same for all models that ask for the same on this Python."""
        digest = hashlib.sha256(f"{FORM}\0{platform.python_version()}\0{platform.machine()}".encode())
        for content in _contents(self.lines, self.folder, set()):
            digest.update(b"\0" + content)
        return digest.hexdigest()[:20]

    @property
    def hashed(self) -> bool:
        """Whether each package comes with its hash, so that none may be added."""
        return any("--hash" in line for line in self.lines)


def find(folder: Path, uri: str) -> Wanted | None:
    """What the model in a folder asks for; None where it asks for nothing. Raises ValueError, OSError."""
    name = next((name for name in (PIP, CONDA) if (folder / name).is_file()), None)
    if name is None:
        return None
    try:
        text = (folder / name).read_text()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is no text in UTF-8: {error.reason} at byte {error.start}") from error
    lines = _lines(text) if name == PIP else _of_conda(text)
    if not lines:
        return None
    file = folder / name if name == PIP else None
    return Wanted(source=f"{name} of {uri}", folder=folder, lines=tuple(lines), file=file)


def satisfied(wanted: Wanted) -> bool:
    """Whether this very interpreter has all of it, so that the model needs no other."""
    from packaging.requirements import InvalidRequirement, Requirement  # late: 100 ms, and few models ask

    for line in wanted.lines:
        try:
            one = Requirement(line)
        except InvalidRequirement:
            return False  # an option, a path or an address: what it comes to is pip's to say
        if one.marker is not None and not one.marker.evaluate():
            continue
        try:
            known = version(one.name)
        except PackageNotFoundError:
            return False
        if one.url or one.extras or not one.specifier.contains(known, prereleases=True):
            return False
    return True


def _lines(text: str) -> list[str]:
    joined = re.sub(r"\\\r?\n", " ", text)
    found = (_COMMENT.sub("", line).strip() for line in joined.splitlines())
    return [line for line in found if line]


def _of_conda(text: str) -> list[str]:
    """The pip part. Conda's own packages are not installed: MLflow writes none but Python and pip."""
    import yaml  # late, as above

    try:
        given = mapping(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ValueError(f"{CONDA} is no YAML: {error}") from error
    lines: list[str] = []
    dependencies = given.get("dependencies")
    for one in cast("list[Any]", dependencies) if isinstance(dependencies, list) else []:
        pip = mapping(one).get("pip")
        if isinstance(pip, list):
            lines += _lines("\n".join(str(line) for line in cast("list[Any]", pip)))
    return lines


def _contents(lines: tuple[str, ...], folder: Path, seen: set[Path]) -> Iterator[bytes]:
    """What decides what is installed: the lines, and the local files that they name."""
    for line in lines:
        yield line.encode()
        nested = _NESTED.match(line)
        place = folder / (nested[1].strip() if nested else line.partition(" ")[0])
        if place in seen or not place.is_file():
            continue
        seen.add(place)
        if nested:
            yield from _contents(tuple(_lines(place.read_text())), place.parent, seen)
        else:
            yield place.read_bytes()
