"""A real HDFS on loopback: two namenodes, one of them active, and datanodes, each the daemon of Hadoop itself.

tests/storage.sh has brought its libraries from Maven Central. Nothing here is Hadoop's mini cluster: each daemon is a
process that can be killed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import stores

OPENED = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.nio", "java.util", "java.util.concurrent", "sun.nio.ch")
]
"""What Java 17 has to let Hadoop 3 do."""
BLOCK = 1 << 20
LOG = """\
log4j.rootLogger=WARN,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c: %m%n
"""


class Hadoop:
    """Started on demand; `close` ends all."""

    def __init__(self, folder: Path) -> None:
        self.libraries = stores.tool("hadoop", "lib")
        self.folder = folder
        self.ports = {name: (stores.free_port(), stores.free_port()) for name in ("one", "two")}
        """Of each namenode: RPC and http."""
        self.daemons: dict[str, stores.Store] = {}
        self.users: dict[str, str] = {"user.name": os.environ.get("USER") or "root"}
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name][1]}"

    @property
    def namenodes(self) -> str:
        """Standby first: whoever takes the first alone gets nothing."""
        return f"{self.url('two')};{self.url('one')}"

    def _start(self) -> None:
        self._run("one", "org.apache.hadoop.hdfs.server.namenode.NameNode", "-format", "-nonInteractive")
        self.namenode("one")
        self._run(
            "two", "org.apache.hadoop.hdfs.server.namenode.NameNode", "-bootstrapStandby", "-nonInteractive"
        )
        self.namenode("two")
        self.activate("one")
        for number in (2, 3):
            self.datanode(number)

    def namenode(self, name: str) -> None:
        self.daemons[name] = stores.Store(
            self._java(name, "org.apache.hadoop.hdfs.server.namenode.NameNode"),
            self.url(name),
            log=self.folder / f"{name}.log",
            ready="/jmx",
        )

    def datanode(self, number: int) -> None:
        """One that redirects name 127.0.0.NUMBER."""
        port = stores.free_port()
        own = {
            "dfs.datanode.hostname": f"127.0.0.{number}",
            "dfs.datanode.address": f"127.0.0.1:{stores.free_port()}",
            "dfs.datanode.ipc.address": f"127.0.0.1:{stores.free_port()}",
            "dfs.datanode.http.address": f"127.0.0.{number}:{port}",
            "dfs.datanode.data.dir": str(self.folder / f"data-{number}"),
        }
        name = f"data-{number}"
        self.daemons[name] = stores.Store(
            self._java(name, "org.apache.hadoop.hdfs.server.datanode.DataNode", own),
            f"http://127.0.0.{number}:{port}",
            log=self.folder / f"{name}.log",
            ready="/jmx",
        )

    def activate(self, name: str) -> None:
        self._run(
            name, "org.apache.hadoop.hdfs.tools.DFSHAAdmin", "-transitionToActive", "--forceactive", name
        )

    def dfs(self, *words: str) -> None:
        """`hdfs dfs`, by the user who started the cluster."""
        self._run("one", "org.apache.hadoop.fs.FsShell", *words)

    def put(self, path: str, body: bytes, **query: str) -> None:
        """A file, as `curl -L -T` would."""
        self.call("PUT", path, "CREATE", body, overwrite="true", **query)

    def call(self, method: str, path: str, operation: str, body: bytes | None = None, **query: str) -> bytes:
        asked = "&".join(
            f"{key}={quote(value)}" for key, value in ({"op": operation} | self.users | query).items()
        )
        request = urllib.request.Request(f"{self.url('one')}/webhdfs/v1{quote(path)}?{asked}", method=method)

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *words: Any) -> None:
                return None

        try:
            with urllib.request.build_opener(Stay).open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as answer:
            if answer.code != 307:
                raise AssertionError(answer.read().decode()) from answer
            onward = urllib.request.Request(answer.headers["Location"], data=body, method=method)
            with urllib.request.urlopen(onward, timeout=60) as done:
                return done.read()

    def until_live(self) -> None:
        """Waits until the namenode knows the datanodes that run now: one that was killed counts as live for minutes."""
        end = time.monotonic() + 120
        wanted = sorted(one.url.rpartition(":")[2] for name, one in self.daemons.items() if "data" in name)
        found: list[str] = []
        while time.monotonic() < end:
            live = json.loads(self._bean("NameNodeInfo")["LiveNodes"]).values()
            found = sorted(one["infoAddr"].rpartition(":")[2] for one in live)
            if self._bean("FSNamesystemState")["FSState"] == "Operational" and found == wanted:
                return
            time.sleep(0.2)
        raise AssertionError(f"the namenode knows the datanodes {found}, not {wanted}")

    def _bean(self, name: str) -> dict[str, Any]:
        url = f"{self.url('one')}/jmx?qry=Hadoop:service=NameNode,name={name}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["beans"][0]

    def close(self) -> None:
        for daemon in self.daemons.values():
            daemon.close()

    def _run(self, name: str, *words: str) -> None:
        done = subprocess.run(
            [str(word) for word in self._java(name, words[0])] + list(words[1:]),
            capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout[-4000:]}{done.stderr[-4000:]}"

    def _java(self, name: str, main: str, own: dict[str, str] | None = None) -> list[Any]:
        """A command of Hadoop's, with a configuration of its own."""
        place = self.folder / f"conf-{name}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        settings = {
            "fs.defaultFS": "hdfs://models",
            "hadoop.tmp.dir": str(self.folder / f"tmp-{name}"),
            "dfs.nameservices": "models",
            "dfs.ha.namenodes.models": "one,two",
            "dfs.ha.fencing.methods": "shell(true)",
            "dfs.client.failover.proxy.provider.models": "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider",
            "dfs.namenode.shared.edits.dir": f"file://{self.folder}/edits",
            "dfs.namenode.name.dir": f"file://{self.folder}/name-{name}",
            "dfs.namenode.fs-limits.min-block-size": "1024",
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.blocksize": str(BLOCK),
            "dfs.replication": "2",
            "dfs.heartbeat.interval": "1",
            "dfs.ha.tail-edits.period": "1s",
        } | (own or {})
        if name in self.ports:
            settings["dfs.ha.namenode.id"] = name
        for one, (rpc, web) in self.ports.items():
            settings[f"dfs.namenode.rpc-address.models.{one}"] = f"127.0.0.1:{rpc}"
            settings[f"dfs.namenode.http-address.models.{one}"] = f"127.0.0.1:{web}"
        lines = [
            f"<property><name>{key}</name><value>{escape(value)}</value></property>"
            for key, value in settings.items()
        ]
        for file in ("core-site.xml", "hdfs-site.xml"):
            (place / file).write_text("<configuration>\n" + "\n".join(lines) + "\n</configuration>\n")
        (place / "log4j.properties").write_text(LOG)
        for page in ("hdfs", "datanode", "static"):  # pages for people, which Maven's packages do not have
            (place / "webapps" / page).mkdir(parents=True)
        return [
            "java",
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            *OPENED,
            "-cp",
            f"{place}:{self.libraries}/*",
            main,
        ]
