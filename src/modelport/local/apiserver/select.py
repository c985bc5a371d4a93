"""Which objects a list, a watch or a deletion of many means."""

from __future__ import annotations

import msgspec

from modelport.kube.resource import Object
from modelport.kube.selector import FieldSelector, Selector, parse_fields, parse_labels
from modelport.local.apiserver.call import Call
from modelport.local.apiserver.ledger import Row


class _Meta(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct):
    metadata: _Meta


_labels = msgspec.json.Decoder(_Labelled)
_decode = msgspec.json.decode


class Selection(msgspec.Struct, frozen=True):
    """Namespace, name, labels and fields that all must fit."""

    namespace: str | None
    name: str | None
    labels: Selector
    fields: FieldSelector

    @property
    def everything(self) -> bool:
        """Whether every object of the namespace fits."""
        return self.name is None and self.labels.everything and self.fields.everything

    def has(self, row: Row) -> bool:
        """Whether a row's object fits. Decodes no more than it must."""
        if not self.covers(row):
            return False
        if not self.labels.everything and not self.labels.matches(_labels.decode(row.value).metadata.labels):
            return False
        return self.fields.everything or self.fields.matches(_decode(row.value))

    def covers(self, row: Row) -> bool:
        """Whether namespace and name fit."""
        return (self.namespace is None or row.namespace == self.namespace) and (
            self.name is None or row.name == self.name
        )

    def matches(self, obj: Object) -> bool:
        """Whether labels and fields fit."""
        return self.labels.matches(obj["metadata"].get("labels")) and self.fields.matches(obj)


def selection(call: Call) -> Selection:
    """What a request's parameters select. ApiError 400."""
    strategy = call.served.strategy
    known = {"metadata.name", *(["metadata.namespace"] if call.served.resource.namespaced else [])}
    fields = parse_fields(call.query.get("fieldSelector", ""), known | strategy.selectable, strategy.absent)
    namespace = call.namespace if call.served.resource.namespaced and call.namespace else None
    return Selection(
        namespace,
        call.name or fields.exact("metadata.name"),
        parse_labels(call.query.get("labelSelector", "")),
        fields,
    )
