"""The route table's file: strict to read, stable to write."""

from __future__ import annotations

import msgspec
import pytest

from modelport.wire.table import (
    Auth,
    Certificate,
    Cluster,
    Match,
    Outlier,
    Route,
    Rule,
    Table,
    TlsName,
    decode,
    encode,
)

TABLE = Table(
    version=3,
    routes=[Route(name="default/iris", service="default/iris", hosts=["*"], rules=[Rule(matches=[Match()])])],
    clusters={"b": Cluster(endpoints=["127.77.0.5:8080"]), "a": Cluster(protocol="h2c")},
    auth=Auth(),
    tls=[
        TlsName(
            listener="kserve/g/shop",
            host="*.shop.example",
            certificates=[Certificate(secret="kserve/shop", file="0123456789abcdef" * 4)],
        )
    ],
)


def test_what_was_written_is_read() -> None:
    assert decode(encode(TABLE)) == TABLE


def test_equal_tables_are_equal_bytes() -> None:
    """Else each look at the same objects would be a new version, and the gateway would never rest."""
    turned = msgspec.structs.replace(TABLE, clusters=dict(reversed(TABLE.clusters.items())))
    assert encode(turned) == encode(TABLE)


def test_what_is_as_by_default_is_not_written() -> None:
    """After an upgrade the gateway still runs as it was: a field that it does not know must not cost it every table."""
    table = Table(version=1, clusters={"a": Cluster(endpoints=["127.77.0.5:8080"])})
    assert encode(table) == b'{"version":1,"clusters":{"a":{"endpoints":["127.77.0.5:8080"]}}}'


def test_what_the_gateway_does_not_know_by_default_is_always_written() -> None:
    """It refused every table with a Cluster whose outlier detection was left as it is."""
    assert b'"outlier":{"failures":5,"eject_ms":10000}' in encode(
        Table(version=1, clusters={"a": Cluster(outlier=Outlier())})
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"version": 1, "colour": "red"}', "unknown field `colour`"),
        (b'{"routes": []}', "missing required field `version`"),
        (b'{"version": 1, "clusters": {"a": {"protocol": "h3"}}}', "Invalid enum value 'h3'"),
        (b'{"version": "1"}', "Expected `int`, got `str` - at `$.version`"),
        (
            b'{"version": 1, "tls": [{"listener": "l", "host": "a", "certificates": [{"secret": "s", "key": "k"}]}]}',
            "missing required field `file`|unknown field `key`",
        ),
        (b"{", "truncated"),
    ],
)
def test_what_is_no_table_is_refused_by_name(text: bytes, words: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=words.replace("$", r"\$")):
        decode(text)
