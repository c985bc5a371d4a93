"""What people type for a resource: `isvc`, `inferenceservices`, `InferenceService`, `isvc/iris`."""

from __future__ import annotations

import argparse
import difflib
from typing import TYPE_CHECKING

from modelport.cli import Mistake

if TYPE_CHECKING:
    from modelport.kube.resource import Object, Resource


def known() -> list[Resource]:
    """All resources that the platform serves, our own kinds first."""
    from modelport.kinds.catalog import KINDS
    from modelport.kube.resource import STANDARD

    return [*(kind.resource for kind in KINDS), *STANDARD]


def _others() -> list[Resource]:
    """Our kinds in the versions that are not the stored ones."""
    from modelport.kinds.catalog import KINDS

    return [resource for kind in KINDS for resource in kind.others]


def words(resource: Resource) -> set[str]:
    """All names of a resource, in lower case."""
    names = {resource.plural, resource.kind, resource.singular, resource.qualified, *resource.short_names}
    if resource.group:  # kubectl's full form, as scripts have it
        names.add(f"{resource.plural}.{resource.version}.{resource.group}")
    return {name.lower() for name in names if name}


def find(word: str) -> list[Resource]:
    """The resources that a word means: one, or several by commas or a category. A Mistake for none."""
    found: list[Resource] = []
    for part in word.lower().split(","):
        named = [r for r in known() if part in words(r)] or [r for r in known() if part in r.categories]
        if not named:
            close = difflib.get_close_matches(part, sorted(w for r in known() for w in words(r)), 3)
            raise Mistake(
                f"{part!r} is no kind of this platform",
                f"did you mean {' or '.join(close)}?" if close else "as in: modelport get isvc",
            )
        found += named if part not in words(named[0]) else named[:1]
    return found


def of(item: Object) -> Resource:
    """The resource of an object's `apiVersion` and `kind`. A Mistake for one that is not served."""
    version, kind = item.get("apiVersion"), item.get("kind")
    if not version or not kind:
        raise Mistake("an object has no apiVersion or no kind", "every document needs both")
    everything = [*known(), *_others()]
    for resource in everything:
        if resource.kind == kind and resource.api_version == version:
            return resource
    served = ", ".join(r.api_version for r in everything if r.kind == kind)
    raise Mistake(
        f"{version} {kind} is not served here",
        f"{kind} is served as {served}"
        if served
        else "modelport plan -f FILE says what would be carried out",
    )


def given(name: str) -> str:
    """An argument that is an object's name, for argparse."""
    if not name:
        raise argparse.ArgumentTypeError("the name is empty. Is the variable set that stands for it?")
    return name


def targets(arguments: list[str]) -> list[tuple[Resource, str]]:
    """`isvc iris other`, or `isvc/iris pod/x`."""
    if not arguments:
        raise Mistake("nothing is named", "as in: isvc iris, or isvc/iris")
    if "/" in arguments[0]:
        pairs = [argument.partition("/") for argument in arguments]
        if wrong := next((kind for kind, slash, name in pairs if not slash or not name), None):
            raise Mistake(f"{wrong!r} must be KIND/NAME", "as in: isvc/iris")
        return [(find(kind)[0], name) for kind, _, name in pairs]
    resource = find(arguments[0])[0]
    if "" in arguments[1:]:
        raise Mistake(f"the name of a {resource.kind} is empty", "is the variable set that stands for it?")
    return [(resource, name) for name in arguments[1:]]
