"""What a file of PyTorch holds, told by what is in its archive: nothing is loaded, for loading may run code."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from typing import Literal

from modelport.runtimes.beginning import beginning, pointer
from modelport.server.runtime import LoadError


def form_of(path: Path) -> Literal["script", "exported"]:
    """What the file holds, judged by the names in its archive. Raises LoadError if it cannot be served."""
    start = beginning(path)
    if not zipfile.is_zipfile(path):
        if (elsewhere := pointer(path)) is not None:
            raise elsewhere
        if start.startswith(b"\x80"):
            raise LoadError(f"{path}: is a pickle of an old torch.save, not a program. {_recipe(path)}")
        size = path.stat().st_size if path.exists() else 0
        raise LoadError(
            f"{path}: is no complete PyTorch file ({size} bytes, beginning with {start[:8]!r}). "
            "Export or download it again."
        )
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        # Files lie in one folder named after the archive, in exported programs before torch 2.8 at the top.
        inner = {name.split("/", 1)[-1] for name in names} | set(names)
        if any(name.startswith("data/aotinductor/") for name in inner):
            raise LoadError(
                f"{path}: is compiled by AOTInductor for one kind of machine, which is not supported. "
                f"Save the program itself: torch.export.save(program, '{path.stem}.pt2')"
            )
        if "constants.pkl" in inner:
            return "script"
        if any(name.startswith("models/") or name == "serialized_exported_program.json" for name in inner):
            return "exported"
        pickle = next((name for name in names if name.endswith("data.pkl")), None)
        if pickle is None:
            raise LoadError(f"{path}: is a zip file, but none of PyTorch ({', '.join(names[:5])}).")
        kind = _pickled_class(archive.read(pickle))
    if kind is None:
        raise LoadError(
            f"{path}: holds weights only (a state_dict), not the model that computes with them. {_recipe(path)}"
        )
    raise LoadError(
        f"{path}: is a pickle of {kind}, whose code is not in the file; it is not loaded, for a pickle can run any "
        f"code. {_recipe(path)}"
    )


def _recipe(path: Path) -> str:
    return (
        "Where the model is defined, with an example of two rows: "
        "program = torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim('rows')},)); "
        f"torch.export.save(program, '{path.stem}.pt2'). Or: torch.jit.trace(model.eval(), example).save('{path.stem}.pt')"
    )


def _pickled_class(pickled: bytes) -> str | None:
    """The first class in a pickle that is not a container of weights; nothing is executed."""
    texts: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
            elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
                module, name = texts[-2:]
            else:
                if isinstance(argument, str):
                    texts.append(argument)
                continue
            plain = module in (
                "collections",
                "torch",
                "torch._utils",
                "torch.storage",
                "builtins",
                "__builtin__",
            )
            if not plain and not module.startswith("numpy"):
                return f"{module}.{name}"
    except ValueError:
        return None
    return None
