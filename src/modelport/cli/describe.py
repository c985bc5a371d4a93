"""`modelport describe`: from symptom to cause in one look."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, cast

from modelport.cli import colour, documents, home, naming, waiting
from modelport.cli.events import age, concerns, lines
from modelport.cli.route import address
from modelport.kube.part import mapping, objects

if TYPE_CHECKING:
    from modelport.cli import Commands
    from modelport.kube.client import Client
    from modelport.kube.resource import Object


def register(commands: Commands) -> None:
    """Adds the command."""
    describe = commands.add_parser(
        "describe",
        help="what an object is, how it is, and why",
        description="Describes an InferenceService, or any KIND/NAME: state, cause, next step, pods and events.",
    )
    describe.set_defaults(command=run)
    home.add_dir(describe)
    home.add_namespace(describe)
    describe.add_argument("what", nargs="+", metavar="NAME | KIND NAME | KIND/NAME")


def run(options: argparse.Namespace) -> int:
    """Prints it."""
    words: list[str] = options.what
    one = len(words) == 1 and "/" not in words[0]
    targets = naming.targets(["isvc", words[0]] if one else words)
    settings = home.settings(options)

    async def describe(client: Client) -> int:
        from modelport.kube.resource import EVENT, POD

        for number, (resource, name) in enumerate(targets):
            namespace = options.namespace if resource.namespaced else None
            item = await client.get(resource, namespace, name)
            events = (await client.list(EVENT, namespace)).items
            about = [
                event
                for event in events
                if concerns(event, resource.kind, name) and not _of_a_former(event, resource.kind, item)
            ]
            if number:
                print()
            if resource.kind == "InferenceService":
                pods = await client.list(POD, namespace, labels=f"serving.kserve.io/inferenceservice={name}")
                _service(item, pods.items, await address(client, item, settings))
            else:
                _other(item)
            print("\nEVENTS")
            print("\n".join(lines(about)) if about else "  none")
        return 0

    return home.speak(options, describe)


def _of_a_former(event: Object, kind: str, item: Object) -> bool:
    """Whether an event is of an object of the same name that was there before."""
    about = event.get("involvedObject", {})
    uid = about.get("uid")
    if about.get("kind") != kind:  # of its Deployment, its pods: they came after it
        return (
            bool(event.get("lastTimestamp"))
            and event["lastTimestamp"] < item["metadata"]["creationTimestamp"]
        )
    return bool(uid) and uid != item["metadata"]["uid"]


def _service(item: Object, pods: list[Object], url: str) -> None:
    meta, status = item["metadata"], item.get("status", {})
    model = item["spec"].get("predictor", {}).get("model", {})
    ready = waiting.condition(item, "Ready")
    facts = {
        "Name": f"{meta['namespace']}/{meta['name']}",
        "URL": url,
        "Ready": f"{colour.state(ready['status'])} for {age(ready.get('lastTransitionTime', ''))}"
        if ready
        else "Unknown",
        "Runtime": status.get("servingRuntimeName") or status.get("clusterServingRuntimeName"),
        "Model": " · ".join(
            part for part in (model.get("modelFormat", {}).get("name"), _source(item)) if part
        ),
        "Model state": _state(status.get("modelStatus", {})),
        "Generation": f"{meta.get('generation')} (seen {status.get('observedGeneration')})",
    }
    for name, value in facts.items():
        if value:
            print(f"{name + ':':<13}{value}")
    if words := leaving(meta):
        print(f"\n{words}")
    told = problems(item)
    for problem in told:
        print(f"\n{problem}")
    print("\nCONDITIONS")
    # What all others add up to comes first.
    for found in sorted(status.get("conditions", []), key=lambda one: one["type"] != "Ready"):
        message = _unless_told(found.get("message", ""), told)
        words = " · ".join(part for part in (found.get("reason"), message) if part)
        shown = colour.condition(found["type"], f"{found['status']:<9}")
        print(f"  {found['type']:<28}{shown}{words}".rstrip())
    print("\nPODS")
    for pod in pods:
        print(f"  {_pod(pod, told)}")
    if not pods:
        print("  none")


def leaving(meta: Object) -> str:
    """What keeps a deleted object, and the next step; empty for one that is not deleted."""
    since = meta.get("deletionTimestamp")
    if not since:
        return ""
    finalizers = cast("list[str]", meta.get("finalizers") or [])
    kept = [one for one in finalizers if one not in ("foregroundDeletion", "orphan")]
    if not kept:
        return f"deleted {age(since)} ago, and gone as soon as what it owns is"
    return (
        f"deleted {age(since)} ago, and kept by its finalizers {', '.join(kept)} · next: whoever set them takes them away;"
        f" where nobody does: kubectl patch isvc {meta['name']} -n {meta['namespace']} --type merge"
        """ -p '{"metadata":{"finalizers":null}}'"""
    )


def _source(item: Object) -> str:
    """Where the model comes from, in the user's words."""
    predictor = mapping(item["spec"].get("predictor"))
    model = mapping(predictor.get("model"))
    if model.get("storageUri"):
        return str(model["storageUri"])
    if listed := objects(predictor.get("storageUris")):
        return ", ".join(f"{one.get('uri')} at {one.get('mountPath', '/mnt/models')}" for one in listed)
    storage = mapping(model.get("storage"))
    key = f" (key {storage['key']})" if storage.get("key") else ""
    return f"{storage.get('path', '')}{key}"


def _unless_told(message: str, told: list[str]) -> str:
    """A long message once is enough: conditions repeat each other's."""
    return "as above" if message and any(message in one for one in told) else message


def _state(model: Object) -> str:
    states = model.get("states", {})
    words = [states.get("activeModelState"), model.get("transitionStatus")]
    target = states.get("targetModelState")
    if target and target != states.get("activeModelState"):
        words.insert(1, f"next: {target}")
    return " · ".join(word for word in words if word)


def problems(item: Object) -> list[str]:
    """What keeps a service from being as its spec says, each as a sentence with the next step; the worst first."""
    found: list[str] = []
    for condition in item.get("status", {}).get("conditions", []):
        bad = condition["status"] == "False" and condition["type"] not in ("Stopped", "FieldsIgnored")
        told = condition["type"] == "FieldsIgnored" and condition["status"] == "True"
        if (bad or told) and condition.get("message"):
            found.append(condition["message"])
    failure = item.get("status", {}).get("modelStatus", {}).get("lastFailureInfo", {})
    if failure.get("message"):
        found.append(failure["message"])
    distinct = list(dict.fromkeys(found))
    # Of two that say the same, the longer one also says what to do.
    return [one for one in distinct if not any(one != other and one in other for other in distinct)]


def _pod(pod: Object, told: list[str]) -> str:
    status = pod.get("status", {})
    # What init containers wait for is why the others wait.
    statuses = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
    waiting_ = [s["state"]["waiting"] for s in statuses if s.get("state", {}).get("waiting")]
    reason = next((w.get("reason") for w in waiting_ if w.get("reason")), status.get("phase", ""))
    if pod["metadata"].get("deletionTimestamp"):
        reason = "Terminating"
    ready = sum(1 for s in status.get("containerStatuses", []) if s.get("ready"))
    count = len(pod["spec"].get("containers", []))
    restarts = sum(s.get("restartCount", 0) for s in statuses)
    created = age(pod["metadata"].get("creationTimestamp", ""))
    words = next((w.get("message") for w in waiting_ if w.get("message")), "")
    line = (
        f"{pod['metadata']['name']}  {colour.state(f'{ready}/{count}')} {colour.state(str(reason))},"
        f" {restarts} restarts, {created}"
    )
    lines_ = words.strip().splitlines() or [""]
    # What is wrong stands at a traceback's end; all of it is for the log.
    words = lines_[-1] if lines_[0].startswith("Traceback") else lines_[0]
    return f"{line}\n    {words}" if words and not any(words in one for one in told) else line


def _other(item: Object) -> None:
    item["metadata"].pop("managedFields", None)
    print(documents.dump(item), end="")
