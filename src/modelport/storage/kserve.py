"""Credentials in KServe's forms: Secrets on the ServiceAccount, the `storage-config` Secret, annotations. Pure.

Objects come in as the API has them; values come out under the names of KServe's storage initializer.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from modelport.kube.part import mapping, objects
from modelport.kube.resource import Object
from modelport.storage import credentials
from modelport.storage.credentials import Credentials
from modelport.storage.failure import StorageError
from modelport.storage.machine import json_object

GROUP: Final = "serving.kserve.io/"
ROLE: Final = "eks.amazonaws.com/role-arn"
TYPES: Final = ("s3", "hdfs", "webhdfs")
PLACEHOLDER: Final = "<scheme-placeholder>"

S3_SETTINGS: Final = {
    # Variable: annotation, key of the ConfigMap
    "S3_ENDPOINT": ("s3-endpoint", "s3Endpoint"),
    "S3_USE_HTTPS": ("s3-usehttps", "s3UseHttps"),
    "S3_VERIFY_SSL": ("s3-verifyssl", "s3VerifySSL"),
    "awsAnonymousCredential": ("s3-useanoncredential", "s3UseAnonymousCredential"),
    "AWS_DEFAULT_REGION": ("s3-region", "s3Region"),
    "S3_USER_VIRTUAL_BUCKET": ("s3-usevirtualbucket", "s3UseVirtualBucket"),
    "S3_USE_ACCELERATE": ("s3-useaccelerate", "s3UseAccelerate"),
    "AWS_CA_BUNDLE": ("s3-cabundle", "s3CABundle"),
    "AWS_CA_BUNDLE_CONFIGMAP": ("s3-cabundle-configmap", "s3CABundleConfigMap"),
}
AZURE: Final = (
    "AZURE_SUBSCRIPTION_ID",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_ACCESS_TOKEN",
    "AZURE_ACCESS_EXPIRES_ON_SECONDS",
    "AZURE_ACCOUNT_NAME",
    "AZURE_SERVICE_URL",
    "AZURE_STORAGE_SAS_TOKEN",
)
LEGACY: Final = {
    f"AZURE_{name}": f"AZ_{name}" for name in ("SUBSCRIPTION_ID", "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")
}
HDFS: Final = (
    "HDFS_NAMENODE",
    "HDFS_ROOTPATH",
    "USER_PROXY",
    "KERBEROS_PRINCIPAL",
    "KERBEROS_KEYTAB",
    "TLS_CERT",
    "TLS_KEY",
    "TLS_CA",
    "TLS_SKIP_VERIFY",
    "HEADERS",
)
CONFIG_NAMES: Final = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "region": "AWS_DEFAULT_REGION",
    "verify_ssl": "S3_VERIFY_SSL",
    "anonymous": "awsAnonymousCredential",
    "ca_bundle": "AWS_CA_BUNDLE",
    "cabundle_configmap": "AWS_CA_BUNDLE_CONFIGMAP",
}
"""Keys of the JSON in `storage-config`."""


@dataclass(frozen=True)
class Settings:
    """The ConfigMap's `credentials`."""

    s3: Mapping[str, str]
    """Its `s3`: names of the Secret's keys, and defaults."""
    gcs_file: str = "gcloud-application-credentials.json"
    storage_secret: str = "storage-config"  # noqa: S105 - a Secret's name
    secret_annotation: str = "serving.kserve.io/storageSecretName"  # noqa: S105 - an annotation's name


DEFAULTS: Final = Settings(s3={})


def from_objects(
    service_account: Object | None,
    secrets: Mapping[str, Object],
    *,
    annotations: Mapping[str, str] | None = None,
    settings: Settings = DEFAULTS,
) -> Credentials:
    """What the Secrets of a ServiceAccount give; `annotations` of the service may choose one Secret instead.

    `secrets` are those of the namespace, by name. All that are found apply, later ones over earlier ones; where two
    give the same value differently, `conflicts` says so. Secrets that are not there or not of a known form give
    nothing, as in KServe; `unusable` names them.
    """
    account = service_account or {}
    meta = mapping(account.get("metadata"))
    found: list[Credentials] = []
    if role := mapping(meta.get("annotations")).get(ROLE):
        source = f"ServiceAccount {meta.get('namespace', 'default')}/{meta.get('name', 'default')}"
        values = {"AWS_ROLE_ARN": str(role), **_s3_settings(mapping(meta.get("annotations")), {}, settings)}
        found.append(credentials.of(values, source))
    named = (annotations or {}).get(settings.secret_annotation)
    names = (
        [named] if named else [str(one["name"]) for one in objects(account.get("secrets")) if one.get("name")]
    )
    found += [of_secret(secrets[name], settings) for name in names if name in secrets]
    merged = credentials.merge(found)
    return replace(merged, conflicts=tuple(credentials.conflicts(found)))


def unusable(
    service_account: Object | None, secrets: Mapping[str, Object], settings: Settings = DEFAULTS
) -> list[str]:
    """Sentences about Secrets that a ServiceAccount names and that give nothing."""
    sentences: list[str] = []
    for one in objects((service_account or {}).get("secrets")):
        name = str(one.get("name", ""))
        if name not in secrets:
            sentences.append(f"Secret {name}, which the ServiceAccount names, does not exist")
        elif not of_secret(secrets[name], settings).settings:
            keys = ", ".join(sorted(mapping(secrets[name].get("data")))) or "none"
            sentences.append(f"Secret {name} is of no form that storage knows; its keys: {keys}")
    return sentences


def of_secret(secret: Object, settings: Settings = DEFAULTS) -> Credentials:
    """What one Secret gives, told apart by its keys in KServe's order."""
    meta = mapping(secret.get("metadata"))
    source = f"Secret {meta.get('namespace', 'default')}/{meta.get('name', '')}"
    data = _decoded(secret)
    access = settings.s3.get("s3AccessKeyIDName") or "awsAccessKeyID"
    hidden = settings.s3.get("s3SecretAccessKeyName") or "awsSecretAccessKey"
    values: dict[str, str]
    if hidden in data or "AWS_SECRET_ACCESS_KEY" in data:
        values = {
            "AWS_ACCESS_KEY_ID": data.get(access) or data.get("AWS_ACCESS_KEY_ID", ""),
            "AWS_SECRET_ACCESS_KEY": data.get(hidden) or data.get("AWS_SECRET_ACCESS_KEY", ""),
            "AWS_SESSION_TOKEN": data.get("AWS_SESSION_TOKEN", ""),
            **_s3_settings(mapping(meta.get("annotations")), data, settings),
        }
    elif settings.gcs_file in data:
        values = {"gcloud-application-credentials.json": data[settings.gcs_file]}
    elif any(
        name in data
        for name in ("AZ_CLIENT_ID", "AZURE_CLIENT_ID", "AZURE_ACCESS_TOKEN", "AZURE_STORAGE_ACCESS_KEY")
    ):
        values = {name: data.get(LEGACY.get(name, name)) or data.get(name, "") for name in AZURE}
    elif "https-host" in data and "headers" in data:
        values = {f"{data['https-host'].strip()}-headers": data["headers"]}
    elif "HDFS_NAMENODE" in data:
        values = {name: data.get(name, "") for name in HDFS}
    elif "HF_TOKEN" in data or "HF_ENDPOINT" in data:
        values = {name: data.get(name, "").strip() for name in ("HF_TOKEN", "HF_ENDPOINT")}
    elif "MODELSCOPE_API_TOKEN" in data or "MODELSCOPE_ENDPOINT" in data:
        values = {
            name: data.get(name, "").strip() for name in ("MODELSCOPE_API_TOKEN", "MODELSCOPE_ENDPOINT")
        }
    elif "GIT_PASSWORD" in data or "GIT_USERNAME" in data:
        values = {name: data.get(name, "") for name in ("GIT_USERNAME", "GIT_PASSWORD")}
    elif ".dockerconfigjson" in data:
        values = {".dockerconfigjson": data[".dockerconfigjson"]}
    elif any(name.startswith(("MLFLOW_", "DATABRICKS_")) for name in data):
        values = {name: value for name, value in data.items() if name.startswith(("MLFLOW_", "DATABRICKS_"))}
    else:
        values = {}
    return credentials.of(values, source)


def of_pull_secrets(secrets: list[Object]) -> Credentials:
    """Registries' passwords of a pod's imagePullSecrets; an earlier Secret goes before a later one."""
    return credentials.merge(
        credentials.of({".dockerconfigjson": text}, _source(secret))
        for secret in reversed(secrets)
        if (text := _decoded(secret).get(".dockerconfigjson"))
    )


@dataclass(frozen=True)
class Stored:
    """What `storage.key`, `path` and `parameters` of a model come to."""

    uri: str
    credentials: Credentials


def storage_spec(
    path: str,
    secret: Object | None,
    *,
    key: str | None = None,
    parameters: Mapping[str, str] | None = None,
    settings: Settings = DEFAULTS,
) -> Stored:
    """The URI and credentials of a storage spec; `secret` is the namespace's `storage-config`, or None.

    `path` may be `<scheme-placeholder>://path` too. Raises StorageError in KServe's words, and what to do.
    """
    given = dict(parameters or {})
    kind = given.get("type", "")
    name = settings.storage_secret
    data = _decoded(secret or {})
    chosen = key or (f"default_{kind}" if kind and f"default_{kind}" in data else "default")
    if key and secret is None:
        raise _spec(f"can't read storage secret {name}: it does not exist", f"Create it with the key {key}")
    if key and key not in data:
        keys = ", ".join(sorted(data)) or "none"
        raise _spec(f"specified storage key {key} not found in storage secret {name}", f"Its keys: {keys}")
    config: dict[str, str] = {}
    if chosen in data:
        found = json_object(data[chosen])
        if found is None:
            raise _spec(
                f"invalid json encountered in key {chosen} of storage secret {name}", "Write a JSON object"
            )
        config = {each: str(value) for each, value in found.items()}
    config |= given
    kind = config.get("type", "")
    if not kind:
        raise _spec(
            "unable to determine storage type",
            f"Give `type` in key {chosen} of Secret {name}, or in parameters",
        )
    if kind not in TYPES:
        raise _spec(
            f"storage type must be one of [{', '.join(TYPES)}]. storage type [{kind}] is not supported",
            "For other stores use storageUri",
        )
    bare = path.removeprefix(f"{PLACEHOLDER}://").removeprefix(f"{kind}://").lstrip("/")
    source = (
        f"key {chosen} of {_source(secret)}"
        if secret is not None and chosen in data
        else "the model's parameters"
    )
    if kind != "s3":
        values = {each: _pem(each, config.get(each, "")) for each in HDFS}
        return Stored(f"{kind}://{bare}", credentials.of(values, source))
    if not config.get("bucket"):
        raise _spec(
            f"format [{kind}] requires a bucket but one wasn't found in storage data or parameters",
            f"Give `bucket` in key {chosen} of Secret {name}, or in parameters",
        )
    values = {variable: config.get(each, "") for each, variable in CONFIG_NAMES.items()}
    return Stored(f"s3://{config['bucket']}/{bare}", credentials.of(values, source))


def _pem(name: str, value: str) -> str:
    """KServe has certificates and keys in base64 there, so that they are one line of JSON."""
    if name not in ("TLS_CERT", "TLS_KEY", "TLS_CA"):
        return value
    with contextlib.suppress(binascii.Error, ValueError):
        text = base64.b64decode("".join(value.split()), validate=True).decode()
        if "-----BEGIN" in text:
            return text
    return value


def _spec(problem: str, hint: str) -> StorageError:
    return StorageError("authenticate", problem, hint, reason="Unauthenticated")


def _s3_settings(
    annotations: Mapping[str, object], data: Mapping[str, str], settings: Settings
) -> dict[str, str]:
    """Annotation over Secret over ConfigMap; a scheme in the endpoint decides on https."""
    values: dict[str, str] = {}
    for variable, (annotation, config) in S3_SETTINGS.items():
        value = annotations.get(GROUP + annotation, data.get(variable, settings.s3.get(config, "")))
        if str(value).strip():
            values[variable] = str(value).strip()
    endpoint = values.get("S3_ENDPOINT", "")
    if endpoint:
        scheme = "http" if values.get("S3_USE_HTTPS") == "0" else "https"
        values["AWS_ENDPOINT_URL"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    elif data.get("AWS_ENDPOINT_URL"):
        values["AWS_ENDPOINT_URL"] = data["AWS_ENDPOINT_URL"]
    return values


def _decoded(secret: Object) -> dict[str, str]:
    values = {key: str(value) for key, value in mapping(secret.get("stringData")).items()}
    for key, value in mapping(secret.get("data")).items():
        try:
            values.setdefault(key, base64.b64decode(str(value or ""), validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            values.setdefault(key, str(value))  # a keytab, for one, is no text: kept as base64
    return values


def _source(secret: Object) -> str:
    meta = mapping(secret.get("metadata"))
    return f"Secret {meta.get('namespace', 'default')}/{meta.get('name', '')}"
