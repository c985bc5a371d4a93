"""One InferenceService to its objects: the walk in order. Pure: no I/O, no clock, no randomness."""

from __future__ import annotations

from typing import cast

import msgspec

from modelport.kinds.inferenceservice.spec import Component, InferenceService
from modelport.kinds.problem import Problem
from modelport.kinds.selection import Selection, select
from modelport.kube.resource import Object
from modelport.render import components, ignored, route
from modelport.render.check import check
from modelport.render.rendered import Around, Part, Rendered
from modelport.render.template import TemplateError

STOP = "serving.kserve.io/stop"


def render(service: InferenceService, around: Around, version: str) -> Rendered:
    """The plan for a service among runtimes and configuration. `version` is Modelport's, for its images."""
    spec = cast("Object", msgspec.to_builtins(service.spec))
    rendered = Rendered(ignored=ignored.fields(spec, service.metadata.annotations))
    ingress = around.config.ingress
    if is_stopped(service):
        rendered.stopped = True
        return rendered
    model = service.spec.predictor.model
    selection: Selection | None = None
    if model is not None:
        chosen = select(model, around.runtimes, workers=service.spec.predictor.worker_spec is not None)
        if isinstance(chosen, Problem):
            rendered.problems.append(chosen)
        else:
            selection = chosen
            rendered.runtime, rendered.cluster_runtime = chosen.runtime.name, chosen.runtime.cluster
            rendered.protocol = chosen.protocol
    for made in (
        # Whatever else is wrong is told with it.
        [] if rendered.problems else components.predictor(service, around, selection, version),
        components.transformer(service, around, version),
        components.explainer(service, around, version),
    ):
        if isinstance(made, Part):
            rendered.parts.append(made)
        else:
            rendered.problems += made
    if rendered.problems:
        return rendered
    _address(service, rendered, around)
    if rendered.problems:
        return rendered
    objects = [item for part in rendered.parts for item in part.objects]
    if not route.is_local(service, ingress):
        routes = route.routes(service, rendered.parts, _specs(service), ingress)
        if isinstance(routes, Problem):
            rendered.problems.append(routes)
            return rendered
        objects += routes
    # A name that is too long, or a mount of a volume that is not there: told here, with the object and the field,
    # rather than by an API server that refuses one object of several.
    rendered.problems += check(objects)
    if not rendered.problems:
        rendered.objects = objects
    return rendered


def is_stopped(service: InferenceService) -> bool:
    """Whether the annotation asks for nothing to run."""
    return service.metadata.annotations.get(STOP, "").lower() == "true"


def _specs(service: InferenceService) -> dict[str, Component]:
    spec = service.spec
    found = {"predictor": spec.predictor, "transformer": spec.transformer, "explainer": spec.explainer}
    return {name: component for name, component in found.items() if component is not None}


def _address(service: InferenceService, rendered: Rendered, around: Around) -> None:
    ingress, namespace = around.config.ingress, service.metadata.namespace
    entry = next((part for part in rendered.parts if part.component == "transformer"), rendered.parts[0])
    rendered.address = f"http://{entry.name}.{namespace}.svc.cluster.local"
    try:
        local = route.is_local(service, ingress)
        rendered.url = rendered.address if local else route.url(service, ingress)
        rendered.component_urls = {
            part.component: f"http://{part.name}.{namespace}.svc.cluster.local"
            if local
            else f"http://{route.host(service, part.name, ingress)}"
            for part in rendered.parts
        }
    except TemplateError as error:
        where = "configmap kserve/inferenceservice-config, data.ingress"
        rendered.problems.append(Problem(where, str(error), reason="InvalidConfig"))
