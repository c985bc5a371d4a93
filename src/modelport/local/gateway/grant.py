"""Who may refer to objects of another namespace: Gateway API's ReferenceGrants. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.local.gateway.spec import GROUP


def is_granted(grants: Iterable[Object], source: tuple[str, str], target: tuple[str, str, str]) -> bool:
    """Whether objects of kind and namespace `source` may refer to `target`, by kind (of the core group), namespace
    and name."""
    kind, namespace = source
    wanted, where, name = target
    for grant in grants:
        spec = mapping(grant.get("spec"))
        if (
            grant["metadata"]["namespace"] == where
            and any(
                (item.get("group"), item.get("kind"), item.get("namespace")) == (GROUP, kind, namespace)
                for item in objects(spec.get("from"))
            )
            and any(
                (item.get("group") or "", item.get("kind")) == ("", wanted)
                and item.get("name") in (None, "", name)
                for item in objects(spec.get("to"))
            )
        ):
            return True
    return False
