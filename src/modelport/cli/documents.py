"""Objects in files, folders, standard input and addresses: YAML or JSON, one document or many, lists taken apart."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from modelport.cli import Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelport.kube.resource import Object

ENDINGS = {".yaml", ".yml", ".json"}


def read(places: list[str]) -> list[Object]:
    """All objects, in order. A Mistake names the file, and the document in it."""
    return [item for place in places for name, text in _texts(place) for item in _objects(name, text)]


def dump(item: Any) -> str:
    """YAML as people write it: block style, in the order that it has."""
    import yaml

    return yaml.safe_dump(item, sort_keys=False, default_flow_style=False, allow_unicode=True)


def _texts(place: str) -> Iterator[tuple[str, str]]:
    if place == "-":
        yield "standard input", sys.stdin.read()
        return
    if place.startswith(("http://", "https://")):
        import urllib.request

        try:
            with urllib.request.urlopen(place, timeout=30) as answer:  # noqa: S310 - its scheme was checked
                yield place, answer.read().decode()
        except OSError as error:
            raise Mistake(f"-f {place}: {getattr(error, 'reason', None) or error}") from error
        except UnicodeDecodeError as error:
            raise _no_text(place) from error
        return
    if not place:  # a variable that is not set; the path of nothing would be this folder
        raise Mistake("-f: the name of the file is empty", "as in: -f service.yaml, or -f . for this folder")
    path = Path(place)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in ENDINGS)
        if not files:
            raise Mistake(f"-f {place}: no .yaml, .yml or .json file in this folder")
    else:
        files = [path]
    for file in files:
        try:
            yield str(file), file.read_text()
        except OSError as error:
            raise Mistake(f"-f {file}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise _no_text(str(file)) from error


def _no_text(place: str) -> Mistake:
    return Mistake(
        f"-f {place}: this is no text, and YAML or JSON is expected",
        f"where it is a model: modelport deploy {place}",
    )


def _objects(name: str, text: str) -> Iterator[Object]:
    import yaml

    try:
        documents: list[Any] = list(yaml.load_all(text, Loader=_loader()))
        _end(documents, [], set())
    except yaml.YAMLError as error:
        raise Mistake(f"-f {name}: no YAML: {error}") from error
    except RecursionError as error:
        raise Mistake(f"-f {name}: is nested too deeply, or holds an alias (*name) of itself") from error
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        if not isinstance(document, dict):
            raise Mistake(f"-f {name}: document {number} is no object but {type(document).__name__}")
        item = cast("Object", document)
        if str(item.get("kind", "")).endswith("List") and "items" in item:
            for position, one in enumerate(cast("list[Any]", item["items"] or [])):
                yield _listed(item, one, f"-f {name}: document {number}, items[{position}]")
            continue
        if not isinstance(item.get("metadata"), dict):
            raise Mistake(f"-f {name}: document {number} ({item.get('kind', 'no kind')}) has no metadata")
        yield _named(item, f"-f {name}: document {number} ({item.get('kind', 'no kind')})")


def _end(value: Any, above: list[int], seen: set[int]) -> None:
    """RecursionError where a value holds itself, by an alias."""
    if not isinstance(value, dict | list) or id(cast("Any", value)) in seen:
        return
    known = cast("dict[str, Any] | list[Any]", value)
    if id(known) in above:
        raise RecursionError
    for one in known.values() if isinstance(known, dict) else known:
        _end(one, [*above, id(known)], seen)
    seen.add(id(known))


def _listed(listing: Object, one: Any, where: str) -> Object:
    """An item of a list; one of a kind's own list need not repeat apiVersion and kind."""
    if not isinstance(one, dict) or not isinstance(cast("Object", one).get("metadata"), dict):
        raise Mistake(f"{where} is no object with metadata")
    kind = str(listing["kind"]).removesuffix("List")
    _named(cast("Object", one), where)
    return ({"apiVersion": listing.get("apiVersion"), "kind": kind} if kind else {}) | cast("Object", one)


def _named(item: Object, where: str) -> Object:
    """The object, where its name and namespace are text: YAML makes numbers of 007 and 1e3."""
    meta = cast("Object", item["metadata"])
    if meta.get("name") in (None, ""):
        raise Mistake(f"{where} has no metadata.name")
    for field in ("name", "namespace"):
        if not isinstance(meta.get(field, ""), str | None):
            kind = type(meta[field]).__name__
            raise Mistake(f"{where}: metadata.{field} must be text, got {kind}", "put it in quotes")
    return item


def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML whose dates stay text, as in Kubernetes."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader


def encode(item: Any) -> str:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(item), indent=2).decode()
