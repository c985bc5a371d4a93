"""Specs to objects: KServe's names, shapes and order; nothing that is set is passed over in silence."""

from __future__ import annotations

import copy
import json

import msgspec
import pytest

from modelport.kinds import builtin, servingruntime
from modelport.kinds.config import EMBEDDED, decode
from modelport.kinds.inferenceservice import KIND
from modelport.kinds.inferenceservice import decode as typed
from modelport.kinds.inferenceservice.defaulting import fill
from modelport.kube.resource import DEPLOYMENT, HTTP_ROUTE, SERVICE
from modelport.kube.schema import schema_of, validate
from modelport.render.render import render
from modelport.render.rendered import Around

RUNTIMES = [servingruntime.decode(item, cluster=True) for item in builtin.runtimes("1.0")]
SCHEMAS = {"Deployment": DEPLOYMENT, "Service": SERVICE, "HTTPRoute": HTTP_ROUTE}
CUSTOM = {"containers": [{"name": "mine", "image": "i", "command": ["serve"]}]}


def config(**ingress):
    data = {key: json.dumps(value | (ingress if key == "ingress" else {})) for key, value in EMBEDDED.items()}
    return decode({"data": data})[0]


def plan(predictor=None, *, settings=None, runtimes=RUNTIMES, **more):
    meta = {"name": "iris", "namespace": "default", "generation": 1} | more.pop("metadata", {})
    item = {
        "metadata": meta,
        "spec": {"predictor": predictor or {"sklearn": {"storageUri": "s3://b/m"}}} | more,
    }
    settings = settings or config()
    return render(
        typed(fill(copy.deepcopy(item), settings)), Around(config=settings, runtimes=runtimes), "1.0"
    )


def named(rendered, kind, name="iris-predictor"):
    return next(o for o in rendered.objects if o["kind"] == kind and o["metadata"]["name"] == name)


def pod(rendered, name="iris-predictor"):
    return named(rendered, "Deployment", name)["spec"]["template"]["spec"]


def test_a_model_becomes_a_deployment_a_service_and_two_routes():
    rendered = plan()
    assert rendered.problems == []
    assert [(o["kind"], o["metadata"]["name"]) for o in rendered.objects] == [
        ("Deployment", "iris-predictor"),
        ("Service", "iris-predictor"),
        ("HTTPRoute", "iris-predictor"),
        ("HTTPRoute", "iris"),
    ]
    assert rendered.url == "http://iris-default.example.com"
    assert rendered.address == "http://iris-predictor.default.svc.cluster.local"
    container = pod(rendered)["containers"][0]
    assert container["args"][:2] == ["--model_name=iris", "--model_dir=/mnt/models"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert {"name": "INFERENCE_SERVICE_NAME", "value": "iris"} in container["env"]
    assert pod(rendered)["initContainers"][0]["args"] == ["s3://b/m", "/mnt/models"]
    assert named(rendered, "HTTPRoute", "iris")["spec"]["hostnames"] == [
        "iris-default.example.com",
        "iris-default.localhost",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"predictor": CUSTOM},
        {"transformer": CUSTOM, "explainer": CUSTOM},
        {"predictor": {"sklearn": {"storageUri": "pvc://claim/path"}}},
        {
            "predictor": {
                **CUSTOM,
                "storageUris": [
                    {"uri": "s3://a", "mountPath": "/m/a"},
                    {"uri": "s3://b", "mountPath": "/m/b"},
                ],
            }
        },
        {"predictor": {"model": {"modelFormat": {"name": "sklearn"}, "storage": {"key": "k", "path": "p"}}}},
    ],
    ids=["model", "custom", "all", "claim", "several", "storage key"],
)
def test_what_is_rendered_fits_kubernetes_schemas_and_selectors(arguments):
    rendered = plan(**arguments)
    assert rendered.problems == []
    for item in rendered.objects:
        schema = schema_of(SCHEMAS[item["kind"]])
        assert schema is not None
        assert validate(schema, item) == []
        if item["kind"] == "Deployment":
            labels = item["spec"]["template"]["metadata"]["labels"]
            assert item["spec"]["selector"]["matchLabels"].items() <= labels.items()
            spec = item["spec"]["template"]["spec"]
            volumes = {volume["name"] for volume in spec.get("volumes", [])}
            for container in spec["containers"] + spec.get("initContainers", []):
                assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        if item["kind"] == "HTTPRoute":
            services = {o["metadata"]["name"] for o in rendered.objects if o["kind"] == "Service"}
            for rule in item["spec"]["rules"]:
                assert {ref["name"] for ref in rule["backendRefs"]} <= services


def test_a_transformer_is_the_way_in_and_knows_its_predictor():
    rendered = plan(transformer=CUSTOM, explainer=CUSTOM)
    arguments = pod(rendered, "iris-transformer")["containers"][0]["args"]
    assert arguments == [
        "--model_name",
        "iris",
        "--predictor_host",
        "iris-predictor.default",
        "--http_port",
        "8080",
    ]
    rules = named(rendered, "HTTPRoute", "iris")["spec"]["rules"]
    assert [rule["backendRefs"][0]["name"] for rule in rules] == ["iris-explainer", "iris-transformer"]
    assert rules[0]["matches"][0]["path"]["value"] == r"^/v1/models/[\w-]+:explain$"


def test_grpc_has_a_rule_of_its_own_where_it_has_a_port():
    ports = [{"containerPort": 8080, "name": "http1"}, {"containerPort": 9000, "name": "h2c"}]
    rendered = plan({"containers": [{"name": "c", "image": "i", "command": ["x"], "ports": ports}]})
    assert [p["port"] for p in named(rendered, "Service")["spec"]["ports"]] == [80, 9000]
    grpc, rest = named(rendered, "HTTPRoute", "iris")["spec"]["rules"]
    assert (grpc["backendRefs"][0]["port"], rest["backendRefs"][0]["port"]) == (9000, 80)
    assert grpc["matches"][0]["headers"][0]["name"] == "content-type"


@pytest.mark.parametrize(
    ("port", "flag", "probed"),
    [
        ({"containerPort": 8081, "name": "grpc-port"}, None, 8080),
        ({"containerPort": 9000, "name": "h2c"}, "--grpc_port=9000", 8080),
        ({"containerPort": 9000}, "--http_port=9000", 9000),
        ({"containerPort": 8080, "name": "http1"}, "--one-port", 8080),
    ],
)
def test_our_server_listens_where_the_declared_port_is_and_is_probed_over_rest(port, flag, probed):
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m", "ports": [port]}
    rendered = plan({"model": model})
    main = pod(rendered)["containers"][0]
    assert flag is None or flag in main["args"]
    assert ("--one-port" in main["args"]) == ("grpc" not in str(port) and "h2c" not in str(port))
    assert main["readinessProbe"]["httpGet"]["port"] == probed
    assert named(rendered, "Service")["spec"]["ports"][0]["targetPort"] == port["containerPort"]


def test_an_empty_name_as_the_sdk_sends_it_is_no_field_that_is_ignored():
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m", "name": ""}
    assert plan({"model": model}).ignored == []


def test_annotations_that_nothing_carries_out_are_named():
    """A service of a serverless cluster is served in another mode, and must not learn it by its bill."""
    annotations = {
        "serving.kserve.io/deploymentMode": "Serverless",
        "serving.kserve.io/autoscalerClass": "keda",
        "autoscaling.knative.dev/target": "5",
        "team": "a",
    }
    assert plan(metadata={"annotations": annotations}).ignored == [
        "metadata.annotations[autoscaling.knative.dev/target]",
        "metadata.annotations[serving.kserve.io/autoscalerClass]",
        "metadata.annotations[serving.kserve.io/deploymentMode]=Knative (served in Standard mode)",
    ]
    kept = {"serving.kserve.io/deploymentMode": "RawDeployment", "serving.kserve.io/autoscalerClass": "none"}
    assert plan(metadata={"annotations": kept}).ignored == []


def test_a_model_that_is_nowhere_is_told_before_a_server_looks_into_an_empty_folder():
    nowhere = plan({"model": {"modelFormat": {"name": "sklearn"}}})
    assert [(one.field, one.reason) for one in nowhere.problems] == [
        ("spec.predictor.model.storageUri", "InvalidPredictorSpec")
    ]
    mounted = {
        "modelFormat": {"name": "sklearn"},
        "volumeMounts": [{"name": "v", "mountPath": "/mnt/models"}],
    }
    volumes = [{"name": "v", "hostPath": {"path": "/srv/models"}}]
    assert plan({"model": mounted, "volumes": volumes}).problems == []


def test_the_models_settings_go_over_the_runtimes():
    rendered = plan(
        {
            "model": {
                "modelFormat": {"name": "sklearn"},
                "storageUri": "s3://b/m",
                "args": ["--workers=2"],
                "env": [{"name": "A", "value": "b"}],
                "resources": {"limits": {"memory": "1Gi"}},
                "runtimeVersion": "2.0",
            }
        }
    )
    container = pod(rendered)["containers"][0]
    assert container["args"][-1] == "--workers=2"
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert container["image"] == "modelport/server:2.0"
    assert {"name": "A", "value": "b"} in container["env"]


def test_what_a_model_says_of_its_fetching_reaches_the_fetch():
    """A gated model's token in `env` is what a Hugging Face user writes first."""
    token = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
    env = [token, {"name": "OMP_NUM_THREADS", "value": "1"}]
    found = pod(plan({"sklearn": {"storageUri": "hf://org/model", "env": env}}))
    assert found["initContainers"][0]["env"] == [token]
    assert "env" not in pod(plan())["initContainers"][0]


def test_a_batcher_becomes_flags_of_our_own_server():
    rendered = plan({"sklearn": {"storageUri": "s3://b/m"}, "batcher": {"maxBatchSize": 64, "maxLatency": 5}})
    assert pod(rendered)["containers"][0]["args"][-2:] == ["--max-batch-size=64", "--batch-delay=5"]


def test_stopping_leaves_nothing():
    rendered = plan(metadata={"annotations": {"serving.kserve.io/stop": "TRUE"}})
    assert rendered.stopped
    assert rendered.objects == []


def test_cluster_local_services_have_no_routes():
    rendered = plan(metadata={"labels": {"networking.kserve.io/visibility": "cluster-local"}})
    assert [o["kind"] for o in rendered.objects] == ["Deployment", "Service"]
    assert rendered.url == rendered.address


def test_paths_instead_of_hosts():
    rendered = plan(settings=config(pathTemplate="/serving/{{ .Namespace }}/{{ .Name }}"))
    assert rendered.url == "http://example.com/serving/default/iris"
    # On the host that all share, nobody takes what is not below his path, and servers see the paths that they know.
    assert "example.com" not in named(rendered, "HTTPRoute", "iris")["spec"]["hostnames"]
    route = named(rendered, "HTTPRoute", "iris.path")["spec"]
    assert "example.com" in route["hostnames"]
    (rule,) = route["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/serving/default/iris"}}]
    (rewrite,) = [one["urlRewrite"] for one in rule["filters"] if one["type"] == "URLRewrite"]
    assert rewrite == {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}


def test_a_template_that_is_not_understood_is_named():
    rendered = plan(settings=config(domainTemplate="{{ .Nam }}.x"))
    assert "'.Nam' is not known" in str(rendered.problems[0])
    assert rendered.objects == []


def test_a_missing_runtime_is_a_problem_and_nothing_is_rendered():
    rendered = plan(runtimes=[])
    assert rendered.problems[0].reason == "NoSupportingRuntime"
    assert rendered.objects == []


def test_the_same_spec_gives_the_same_objects():
    assert json.dumps(plan().objects) == json.dumps(plan().objects)


def _value(schema):
    if schema.get("enum"):
        return schema["enum"][-1]
    kind = schema.get("type")
    if kind == "integer":
        return 7
    if kind == "boolean":
        return True
    if kind == "array":
        items = schema.get("items", {})
        return ["x"] if items.get("type") == "string" else [{"name": "x", "uri": "s3://x", "image": "i"}]
    if kind == "object":
        properties = schema.get("properties")
        return {name: _value(below) for name, below in properties.items()} if properties else {"x": "y"}
    return "s3://x/y" if "storage" in str(schema.get("description", "")).lower() else "x"


PREDICTOR = KIND.schema["properties"]["spec"]["properties"]["predictor"]["properties"]
FRAMEWORKS = {
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
}


@pytest.mark.parametrize("name", sorted(PREDICTOR.keys() - FRAMEWORKS - {"model"}))
def test_every_field_of_a_predictor_is_carried_out_or_named(name):
    bare = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}}
    if name == "storageUris":
        del bare["model"]["storageUri"]
    value = {"batcher": {"maxBatchSize": 3}}.get(name, _value(PREDICTOR[name]))
    changed = plan(bare | {name: value})
    said = any(
        path == f"spec.predictor.{name}" or path.startswith(f"spec.predictor.{name}.")
        for path in changed.ignored
    )
    assert said or json.dumps(changed.objects) != json.dumps(plan(bare).objects) or changed.problems, name


def test_what_a_pods_volumes_lack_here_is_named():
    token = {"serviceAccountToken": {"path": "token"}}
    changed = plan(
        {
            "volumes": [
                {"name": "a", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
                {"name": "b", "projected": {"sources": [{"configMap": {"name": "c"}}, token]}},
            ],
            "containers": [
                {
                    "name": "kserve-container",
                    "image": "i",
                    "command": ["serve"],
                    "volumeMounts": [{"name": "a", "mountPath": "/a", "mountPropagation": "HostToContainer"}],
                    "lifecycle": {"stopSignal": "SIGUSR1"},
                }
            ],
        }
    )
    assert set(changed.ignored) == {
        "spec.predictor.volumes[0].emptyDir.medium",
        "spec.predictor.volumes[0].emptyDir.sizeLimit",
        "spec.predictor.volumes[1].projected.sources[1].serviceAccountToken",
        "spec.predictor.containers[0].volumeMounts[0].mountPropagation",
        "spec.predictor.containers[0].lifecycle.stopSignal",
    }


@pytest.mark.parametrize("name", sorted(PREDICTOR["model"]["properties"].keys() - {"modelFormat"}))
def test_every_field_of_a_model_is_carried_out_or_named(name):
    bare = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}
    value = {"protocolVersion": "v2", "storage": {"path": "p", "key": "k"}}.get(
        name, _value(PREDICTOR["model"]["properties"][name])
    )
    if name == "storage":
        del bare["storageUri"]
    changed, before = plan({"model": bare | {name: value}}), plan({"model": bare})
    said = any(path.startswith(f"spec.predictor.model.{name}") for path in changed.ignored)
    differs = json.dumps(changed.objects) != json.dumps(before.objects) or changed.protocol != before.protocol
    assert said or differs or changed.problems, name


RUNTIME = servingruntime.KINDS[0].schema["properties"]["spec"]["properties"]


@pytest.mark.parametrize("name", sorted(RUNTIME.keys() - {"containers", "supportedModelFormats"}))
def test_every_field_of_a_runtime_is_carried_out_or_named(name):
    """A runtime's field that is dropped in silence changes how somebody's models are served."""
    from modelport.render import ignored

    spec = {
        "supportedModelFormats": [{"name": "sklearn", "autoSelect": True}],
        "containers": [{"name": "kserve-container", "image": "i", "command": ["serve"]}],
    }
    value = {"protocolVersions": ["grpc-v2"]}.get(name, _value(RUNTIME[name]))

    def served(item):
        one = servingruntime.decode({"metadata": {"name": "mine"}, "spec": item}, cluster=False)
        rendered = plan(runtimes=[one])
        return json.dumps([rendered.objects, [str(problem) for problem in rendered.problems]])

    said = any(
        path == f"spec.{name}" or path.startswith(f"spec.{name}.")
        for path in ignored.of_runtime(spec | {name: value})
    )
    assert said or served(spec | {name: value}) != served(spec), name


@pytest.mark.parametrize("component", ["transformer", "explainer"])
@pytest.mark.parametrize(
    "name", sorted(KIND.schema["properties"]["spec"]["properties"]["explainer"]["properties"])
)
def test_every_field_of_a_transformer_and_an_explainer_is_carried_out_or_named(component, name):
    schema = KIND.schema["properties"]["spec"]["properties"][component]["properties"]
    if name not in schema:
        pytest.skip("no field of it")
    bare = {"containers": [{"name": "kserve-container", "image": "i", "command": ["serve"]}]}
    if name == "storageContainerName":  # it says how these are fetched
        bare["storageUris"] = [{"uri": "s3://b/words"}]
    changed = plan(**{component: bare | {name: _value(schema[name])}})
    where = f"spec.{component}.{name}"
    said = any(path == where or path.startswith((f"{where}.", f"{where}[")) for path in changed.ignored)
    differs = json.dumps(changed.objects) != json.dumps(plan(**{component: bare}).objects)
    assert said or differs or changed.problems, name


def test_every_key_of_the_configuration_is_carried_out_or_named():
    """KServe's own ConfigMap: what nothing here reads must be told by `modelport plan`."""
    from modelport.kinds import config as configuration

    data = {
        "ingress": '{"ingressClassName": "x", "ingressDomain": "a.b", "domainTemplate": "{{ .Name }}", "new": 1}',
        "inferenceService": '{"resource": {"cpuLimit": "2", "colour": 1}, "serviceLabelDisallowedList": []}',
        "deploy": '{"defaultDeploymentMode": "Knative"}',
        "logger": "{}",
        "unheardOf": "{}",
        "_example": "text",
    }
    assert set(configuration.ignored({"data": data})) == {
        "data.ingress.ingressClassName",
        "data.ingress.new",
        "data.inferenceService.resource.colour",
        "data.deploy.defaultDeploymentMode",
        "data.logger",
        "data.unheardOf",
    }
    read = {
        f"{key}.{one.encode_name}"
        for key, (_, kind) in configuration.KEYS.items()
        for one in msgspec.structs.fields(kind)
    }
    settings = {
        "ingress.kserveIngressGateway": {"ingress": {"kserveIngressGateway": "a/b"}},
        "ingress.ingressDomain": {"ingress": {"ingressDomain": "a.b"}},
        "ingress.additionalIngressDomains": {"ingress": {"additionalIngressDomains": ["a.b"]}},
        "ingress.domainTemplate": {"ingress": {"domainTemplate": "{{ .Name }}.x"}},
        "ingress.urlScheme": {"ingress": {"urlScheme": "https"}},
        "ingress.pathTemplate": {"ingress": {"pathTemplate": "/x/{{ .Name }}"}},
        "ingress.disableIngressCreation": {"ingress": {"disableIngressCreation": True}},
        "ingress.disableHTTPRouteTimeout": {"ingress": {"disableHTTPRouteTimeout": True}},
        "inferenceService.resource": {"inferenceService": {"resource": {"cpuLimit": "7"}}},
        "inferenceService.serviceAnnotationDisallowedList": {
            "inferenceService": {"serviceAnnotationDisallowedList": ["note"]}
        },
        "inferenceService.serviceLabelDisallowedList": {
            "inferenceService": {"serviceLabelDisallowedList": ["team"]}
        },
        "deploy.deploymentRolloutStrategy": {
            "deploy": {
                "deploymentRolloutStrategy": {"defaultRollout": {"maxSurge": "1", "maxUnavailable": "0"}}
            }
        },
        "credentials.storageSpecSecretName": {"credentials": {"storageSpecSecretName": "mine"}},
        "credentials.storageSecretNameAnnotation": {"credentials": {"storageSecretNameAnnotation": "note"}},
        "security.autoMountServiceAccountToken": {"security": {"autoMountServiceAccountToken": False}},
        "service.serviceClusterIPNone": {"service": {"serviceClusterIPNone": True}},
    }
    told = {
        "ingress.enableGatewayApi",
        "ingress.ingressGateway",
        "ingress.ingressClassName",
        "deploy.defaultDeploymentMode",
    }
    assert settings.keys() | told == read
    meta = {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}}
    for name, changes in settings.items():
        base = {key: dict(value) for key, value in EMBEDDED.items()}
        merged = {key: base.get(key, {}) | changes.get(key, {}) for key in base.keys() | changes.keys()}

        def rendered(values):
            found = decode({"data": {key: json.dumps(value) for key, value in values.items()}})[0]
            custom = {"containers": [{"name": "mine", "image": "i", "command": ["serve"]}]}
            storage = {"model": {"modelFormat": {"name": "sklearn"}, "storage": {"path": "p", "key": "k"}}}
            plans = [
                plan(predictor, settings=found, **copy.deepcopy(meta)) for predictor in (custom, storage)
            ]
            return json.dumps([[one.objects, one.url] for one in plans])

        assert rendered(merged) != rendered(base), f"{name} changes nothing"


@pytest.mark.parametrize(
    ("predictor", "meta", "said"),
    [
        (None, {}, "true"),
        ({"sklearn": {"storageUri": "s3://b/m", "args": ["--workers=4"]}}, {}, None),
        (None, {"annotations": {"serving.modelport.io/h2c": "false"}}, "false"),
        (CUSTOM, {}, None),
        (CUSTOM, {"annotations": {"serving.modelport.io/h2c": "true"}}, "true"),
    ],
    ids=["ours", "several processes", "refused", "somebody else's", "told"],
)
def test_a_service_says_whether_requests_may_share_connections(predictor, meta, said) -> None:
    """Sharing one with a server that is several processes, all would go to one of them; others may not understand it."""
    found = [item for item in plan(predictor, metadata=meta).objects if item["kind"] == "Service"]
    assert {item["metadata"]["annotations"].get("serving.modelport.io/h2c") for item in found} == {said}
