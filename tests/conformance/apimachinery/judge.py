"""Which of Kubernetes' conformance tests run here, and whether their report is what explained.txt says.

python judge.py focus | skip | judge JUNIT.xml
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

EXPLAINED = Path(__file__).with_name("explained.txt")
ALL = "sig-api-machinery"
"""Of this group every conformance test runs or is explained."""
# Of other groups: those about kinds that are served here, which need no container's image.
OTHERS = (
    "[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount",
    "[sig-auth] ServiceAccounts should update a ServiceAccount",
    "[sig-instrumentation] Events should delete a collection of events",
    "[sig-instrumentation] Events should manage the lifecycle of an event",
    "[sig-network] EndpointSlice should support creating EndpointSlice API operations",
    "[sig-network] Services should complete a service status lifecycle",
    "[sig-network] Services should delete a collection of services",
    "[sig-network] Services should find a service from listing all namespaces",
    "[sig-node] ConfigMap should fail to create ConfigMap with empty key",
    "[sig-node] ConfigMap should run through a ConfigMap lifecycle",
    "[sig-node] Lease lease API should be available",
    "[sig-node] PodTemplates should delete a collection of pod templates",
    "[sig-node] PodTemplates should replace a pod template",
    "[sig-node] PodTemplates should run the lifecycle of PodTemplates",
    "[sig-node] Secrets should fail to create secret due to empty secret key",
    "[sig-node] Secrets should patch a secret",
)
LEAST = 50
"""Fewer tests of the API machinery than this is no report of theirs."""


class Explained(NamedTuple):
    """One line of explained.txt."""

    what: str
    """`fails`: it runs and cannot pass; `waits`: it would only wait for what is not there, and is not run."""
    name: str
    reason: str


def explained() -> list[Explained]:
    """The file's lines: WHAT | NAME | REASON."""
    found: list[Explained] = []
    for number, line in enumerate(EXPLAINED.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = [word.strip() for word in line.split("|")]
        if len(words) != 3 or words[0] not in ("fails", "waits") or not all(words):
            sys.exit(f"{EXPLAINED}:{number}: must be `fails | NAME | REASON` or `waits | …`, got {line!r}")
        found.append(Explained(*words))
    return found


def plain(name: str) -> str:
    """A test's name without its labels: `[It] [sig-x] Thing [Serial] does it [Conformance] [a, b]`."""
    name = re.sub(r"^\[It\] ", "", name)
    name = re.sub(
        r" \[(Serial|Conformance|NodeConformance|Slow|Disruptive|Privileged:ClusterAdmin|[a-z-]+, [^\]]*)\]",
        "",
        name,
    )
    return re.sub(r"\s+", " ", name).strip()


def loose(name: str) -> str:
    """A pattern of the test's name, whatever labels stand between its words."""
    return r"(\s\[[^]]*\])*\s".join(map(re.escape, name.split()))


def judge(report: Path) -> int:
    """0 where the report and the file agree."""
    ran: dict[str, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "")
        if not name.startswith("[It]") or case.find("skipped") is not None:
            continue
        ran[plain(name)] = case.find("failure") is None and case.find("error") is None
    known = {one.name: one for one in explained()}
    wrong = [
        f"failed, and is not explained: {name}" for name, ok in ran.items() if not ok and name not in known
    ]
    wrong += [
        f"passed, though explained.txt says that it {known[name].what}: {name}"
        for name, ok in ran.items()
        if ok and name in known
    ]
    wrong += [
        f"did not run: {name}"
        for name in (*OTHERS, *(one.name for one in known.values() if one.what == "fails"))
        if name not in ran
    ]
    machinery = [name for name in ran if name.startswith(f"[{ALL}]")]
    if len(machinery) < LEAST:
        wrong.append(f"only {len(machinery)} tests of [{ALL}] ran: the suite did not come to its end")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    waiting = sum(1 for one in known.values() if one.what == "waits")
    print(
        f"Kubernetes' conformance tests: {sum(ran.values())} of {len(ran)} passed, {sum(not ok for ok in ran.values())} "
        f"failed as explained, {waiting} not run as explained"
    )
    return 1 if wrong else 0


def main() -> int:
    """What is asked for."""
    match sys.argv[1:]:
        case ["focus"]:
            print(
                "|".join(
                    [rf"\[{ALL}\].*\[Conformance\]", *(loose(name) + r".*\[Conformance\]" for name in OTHERS)]
                )
            )
        case ["skip"]:
            print("|".join(loose(one.name) for one in explained() if one.what == "waits"))
        case ["judge", report]:
            return judge(Path(report))
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
