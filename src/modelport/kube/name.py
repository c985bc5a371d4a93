"""What names, label keys and label values may look like: Kubernetes' rules, in its words.

Every function returns what is wrong, one sentence a rule broken; an empty list is a good value.
"""

from __future__ import annotations

import re
from random import Random

LABEL_LIMIT, SUBDOMAIN_LIMIT = 63, 253
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_QUALIFIED})?"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"

_is_qualified = re.compile(_QUALIFIED).fullmatch
_is_value = re.compile(_VALUE).fullmatch
_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, so that no words come up."""
SUFFIX_LENGTH = 5
_GENERATED_LIMIT = LABEL_LIMIT - SUFFIX_LENGTH


def _must_match(rule: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{rule} (e.g. {shown}regex used for validation is '{pattern}')"


def _too_long(limit: int) -> str:
    return f"must be no more than {limit} characters"


_NAME_PART = _must_match(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)


def check_label(value: str) -> list[str]:
    """A DNS-1123 label, as namespaces have: up to 63 of a-z, 0-9 and '-', alphanumeric at both ends."""
    wrong: list[str] = []
    if len(value) > LABEL_LIMIT:
        wrong.append(_too_long(LABEL_LIMIT))
    if not _is_label(value):
        wrong.append(
            "must not contain dots"
            if _is_subdomain(value)
            else _must_match(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
                "and must start and end with an alphanumeric character",
                _LABEL,
                "my-name",
                "123-abc",
            )
        )
    return wrong


def check_label_1035(value: str) -> list[str]:
    """A DNS-1035 label, as Services have: as a DNS-1123 label, but it starts with a letter."""
    wrong: list[str] = []
    if len(value) > LABEL_LIMIT:
        wrong.append(_too_long(LABEL_LIMIT))
    if not _is_label_1035(value):
        wrong.append(
            _must_match(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
                "start with an alphabetic character, and end with an alphanumeric character",
                _LABEL_1035,
                "my-name",
                "abc-123",
            )
        )
    return wrong


def check_subdomain(value: str) -> list[str]:
    """A DNS-1123 subdomain, as most objects have: labels with dots between, up to 253 characters."""
    wrong: list[str] = []
    if len(value) > SUBDOMAIN_LIMIT:
        wrong.append(_too_long(SUBDOMAIN_LIMIT))
    if not _is_subdomain(value):
        wrong.append(
            _must_match(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
                "and must start and end with an alphanumeric character",
                _SUBDOMAIN,
                "example.com",
            )
        )
    return wrong


def check_qualified(key: str) -> list[str]:
    """A label's or annotation's key: a name of up to 63 characters, after an optional `subdomain/`."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return [
            "a qualified name "
            + _NAME_PART
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    wrong: list[str] = []
    if slash:
        problems = check_subdomain(prefix) if prefix else ["must be non-empty"]
        wrong += [f"prefix part {problem}" for problem in problems]
    if not name:
        wrong.append("name part must be non-empty")
    elif len(name) > LABEL_LIMIT:
        wrong.append("name part " + _too_long(LABEL_LIMIT))
    if not _is_qualified(name):
        wrong.append("name part " + _NAME_PART)
    return wrong


def check_label_value(value: str) -> list[str]:
    """A label's value: empty, or up to 63 of alphanumeric, '-', '_', '.', alphanumeric at both ends."""
    wrong: list[str] = []
    if len(value) > LABEL_LIMIT:
        wrong.append(_too_long(LABEL_LIMIT))
    if not _is_value(value):
        wrong.append(
            _must_match(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                "and must start and end with an alphanumeric character",
                _VALUE,
                "MyValue",
                "my_value",
                "12345",
            )
        )
    return wrong


def check_config_key(key: str) -> list[str]:
    """A key of a ConfigMap's or Secret's data, which becomes a file's name."""
    wrong: list[str] = []
    if len(key) > SUBDOMAIN_LIMIT:
        wrong.append(_too_long(SUBDOMAIN_LIMIT))
    if not _is_config_key(key):
        wrong.append(
            _must_match(
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                _CONFIG_KEY,
                "key.name",
                "KEY_NAME",
                "key-name",
            )
        )
    if key == ".":
        wrong.append("must not be '.'")
    elif key == "..":
        wrong.append("must not be '..'")
    elif key.startswith(".."):
        wrong.append("must not start with '..'")
    return wrong


def unaddressable(name: str) -> str:
    """Why a name can be no part of an object's address; empty for one that can. An empty one would address all objects,
    and these characters something else."""
    if not name:
        return "is empty"
    if name in (".", ".."):
        return "is a folder's"
    return next((f"may not contain {one!r}" for one in "/%?#" if one in name), "")


def generated_name(prefix: str, random: Random) -> str:
    """A name for `metadata.generateName`: the prefix, cut to fit, and five random characters."""
    return prefix[:_GENERATED_LIMIT] + "".join(random.choices(SUFFIX_ALPHABET, k=SUFFIX_LENGTH))
