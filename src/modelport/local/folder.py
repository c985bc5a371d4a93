"""The platform's folder: where each thing lies, and what was chosen when it was first started."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from modelport.kube.resource import Object


class Settings(msgspec.Struct, kw_only=True):
    """Chosen at the first `modelport up`, then kept, so that addresses survive restarts."""

    gateway_port: int
    """Where requests come in."""
    api_port: int
    """The API server's, on loopback."""
    pod_network: str
    """First two octets of the pods' loopback addresses, as in `127.77`."""
    host: str = "127.0.0.1"
    """Address that the gateway binds."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    require_keys: bool = False
    """Refuse requests without a key even while no key is known."""
    access_log: str | None = None
    """Where the gateway writes a line a request."""

    @property
    def internal(self) -> tuple[str, int]:
        """Where pods reach the gateway. Whoever binds all addresses has taken its port on each of them, so that pods
        get another: the API server's number, which is free on every address but its own."""
        everywhere = self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        return f"{self.pod_network}.0.1", self.api_port if everywhere else self.gateway_port


def key_of(python: str) -> str:
    """A short name for an interpreter, in files' names."""
    import hashlib  # late: most of what knows the folder names no interpreter

    return hashlib.sha256(python.encode()).hexdigest()[:12]


class Folder:
    """Paths below `--dir`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings_file = path / "platform.json"
        self.database = path / "state.db"
        self.kubeconfig = path / "kubeconfig"
        self.key_file = path / "api-keys"
        self.tokens = path / "tokens.json"
        self.pki = path / "pki"
        self.gateway = path / "gateway"
        self.table = self.gateway / "table.json"
        self.issuers = self.gateway / "issuers.json"
        self.problems = self.gateway / "problems.json"
        self.run = path / "run"
        self.exits = self.run / "exits"
        self.api_socket = self.run / "api.sock"
        self.admin_socket = self.run / "gateway.sock"
        self.handover_socket = self.run / "handover.sock"
        self.stopping = self.run / "stopping"
        self.pods = path / "pods"
        self.volumes = path / "volumes"
        self.logs = path / "logs"
        self.cache = path / "cache"
        self.environments = path / "envs"

    def fork_socket(self, python: str) -> Path:
        """Where the fork server of an interpreter listens. All such paths are equally long, and no socket's is longer."""
        return self.run / f"forkserver-{key_of(python)}.sock"

    @property
    def certificate(self) -> Path:
        """The API server's certificate."""
        return self.pki / "server.pem"

    @property
    def key(self) -> Path:
        """The API server's private key, mode 0600."""
        return self.pki / "server.key"

    @property
    def authority(self) -> Path:
        """The certificate that clients trust."""
        return self.pki / "ca.pem"

    def make(self) -> None:
        """Creates the folders, private to this user."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in (
            self.pki,
            self.gateway,
            self.run,
            self.exits,
            self.pods,
            self.volumes,
            self.logs,
            self.cache,
        ):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def pod(self, namespace: str, name: str, uid: str) -> Path:
        """A pod's folder: logs, volumes, state."""
        return self.pods / f"{namespace}_{name}_{uid}"

    def log_of(self, pod: Object, container: str, *, previous: bool) -> Path | None:
        """The log of a container's last run, or of the one before; None where there was none."""
        meta = pod["metadata"]
        place = self.pod(meta["namespace"], meta["name"], meta["uid"]) / container
        runs = sorted(
            (path for path in place.glob("*.log") if path.stem.isdecimal()), key=lambda p: int(p.stem)
        )
        if previous:
            return runs[-2] if len(runs) > 1 else None
        return runs[-1] if runs else place / "0.log"

    def settings(self) -> Settings | None:
        """What was chosen, or None before the first start. Raises ValueError with words where it is damaged."""
        try:
            return msgspec.json.decode(self.settings_file.read_bytes(), type=Settings)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise ValueError(
                f"{self.settings_file}: {error}. Mend the file, or delete it to choose anew."
            ) from error

    def keep(self, settings: Settings) -> None:
        """Writes what was chosen."""
        write(self.settings_file, msgspec.json.format(msgspec.json.encode(settings)))


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes a file so that after a crash it is the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say which file it did not take
        raise


def try_to_append(path: str | Path) -> None:
    """Opens a file as the gateway opens its access log, and makes it where there is none. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
