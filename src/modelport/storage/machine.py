"""What this machine itself offers: which cloud it is of, and the credentials that its user has set up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from modelport.storage import credentials
from modelport.storage.credentials import Credentials

Cloud = Literal["aws", "gcp", "azure"]

NAMES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS", "AWS_STS_ENDPOINT", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_CA_BUNDLE", "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_DISABLED", "AWS_REQUEST_PAYER",
    "S3_ENDPOINT", "S3_USE_HTTPS", "S3_VERIFY_SSL", "S3_USER_VIRTUAL_BUCKET", "S3_USE_ACCELERATE",
    "S3_CONNECT_TIMEOUT", "S3_READ_TIMEOUT", "awsAnonymousCredential",
    "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "gcloud-application-credentials.json",
    "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_ACCESS_TOKEN", "AZURE_ACCESS_EXPIRES_ON_SECONDS", "AZURE_ACCOUNT_NAME", "AZURE_SERVICE_URL",
    "AZURE_STORAGE_SAS_TOKEN", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE",
    "AZ_SUBSCRIPTION_ID", "AZ_TENANT_ID", "AZ_CLIENT_ID", "AZ_CLIENT_SECRET",
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "MODELSCOPE_API_TOKEN", "MODELSCOPE_ENDPOINT",
    "GIT_USERNAME", "GIT_PASSWORD", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_INSECURE_TLS", "DATABRICKS_HOST", "DATABRICKS_TOKEN",
    "HDFS_NAMENODE", "USER_PROXY", "HDFS_ROOTPATH", "TLS_CERT", "TLS_KEY", "TLS_CA", "TLS_SKIP_VERIFY", "HEADERS",
    "KERBEROS_PRINCIPAL", "KERBEROS_KEYTAB", "KSERVE_OCI_DOCKER_CONFIG", "KSERVE_OCI_INSECURE_REGISTRY",
    ".dockerconfigjson", "CA_BUNDLE_CONFIGMAP_NAME", "CA_BUNDLE_VOLUME_MOUNT_POINT", "CA_BUNDLE",
    "MODELPORT_INSTANCE_CREDENTIALS", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "GCE_METADATA_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
)  # fmt: skip
"""Variables that a fetch may use: KServe's, and those of the stores' own clients."""


def from_environment(environment: Mapping[str, str], source: str = "the environment") -> Credentials:
    """What variables say, `<host>-headers` included."""
    chosen = {
        name: value
        for name, value in environment.items()
        if name in NAMES or ((name.endswith("-headers") and "." in name) or name.startswith("localhost"))
    }
    return credentials.of(chosen, source)


def of_user(environment: Mapping[str, str], home: Path) -> Credentials:
    """For commands that a person types: what the stores' own clients keep in the home folder, under the environment."""
    aws, own = _aws(environment, home), from_environment(environment)
    parts = [
        *aws,
        _file(
            home / ".config/gcloud/application_default_credentials.json",
            "gcloud-application-credentials.json",
        ),
        _file(home / ".cache/huggingface/token", "HF_TOKEN"),
        _file(Path(environment.get("DOCKER_CONFIG", home / ".docker")) / "config.json", ".dockerconfigjson"),
        own,
    ]
    told = tuple(credentials.conflicts(parts))
    if environment.get("AWS_ACCESS_KEY_ID") or environment.get("AWS_ROLE_ARN"):
        parts[: len(aws)] = [_without_keys(each) for each in aws]
    return replace(credentials.merge(parts), conflicts=told)


def _aws(environment: Mapping[str, str], home: Path) -> list[Credentials]:
    """The profile's keys and region."""
    profile = environment.get("AWS_PROFILE", "default")
    found: list[Credentials] = []
    keys = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE", home / ".aws/credentials"))
    config = Path(environment.get("AWS_CONFIG_FILE", home / ".aws/config"))
    for path, section in (
        (config, profile if profile == "default" else f"profile {profile}"),
        (keys, profile),
    ):
        if not path.is_file():
            continue
        import configparser

        parser = configparser.RawConfigParser()
        with contextlib.suppress(OSError, configparser.Error):
            parser.read(path)
        if parser.has_section(section):
            values = dict(parser.items(section))
            names = {
                "aws_access_key_id": "AWS_ACCESS_KEY_ID",
                "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY",
                "aws_session_token": "AWS_SESSION_TOKEN",
                "region": "AWS_DEFAULT_REGION",
                "endpoint_url": "AWS_ENDPOINT_URL",
                "ca_bundle": "AWS_CA_BUNDLE",
            }
            chosen = {names[name]: value for name, value in values.items() if name in names}
            found.append(credentials.of(chosen, f"{path}, profile {profile}"))
    return found


def _without_keys(given: Credentials) -> Credentials:
    """Half a key from here and half from there would be nobody's."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return Credentials({name: value for name, value in given.settings.items() if name not in keys})


def _file(path: Path, name: str) -> Credentials:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if text := path.read_text().strip():
            return credentials.of({name: text}, str(path))
    return Credentials()


def cloud(given: Credentials) -> Cloud | None:
    """Which cloud's machine this is, as its firmware says. No address is asked: on other machines that takes seconds.

    MODELPORT_INSTANCE_CREDENTIALS=never (or AWS_EC2_METADATA_DISABLED=true) keeps a fetch from using its role.
    """
    wanted = (given.get("MODELPORT_INSTANCE_CREDENTIALS") or "auto").lower()
    if wanted == "never" or given.flag("AWS_EC2_METADATA_DISABLED"):
        return None
    if wanted in ("aws", "gcp", "azure"):
        return wanted
    text = ""
    for name in ("sys_vendor", "product_name", "chassis_asset_tag"):
        with contextlib.suppress(OSError):
            text += Path("/sys/class/dmi/id", name).read_text().strip() + "\n"
    if "Amazon EC2" in text:
        return "aws"
    if "Google" in text:
        return "gcp"
    return "azure" if "7783-7084-3265-9085-8269-3286-77" in text else None


def json_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return cast("dict[str, Any]", found)
    return None
