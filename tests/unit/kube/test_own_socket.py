"""The way to an API server on this machine, against a server that says exactly what a test wants: what a platform would
lose if a connection were used at the wrong moment, or half an answer taken for a whole one."""

import asyncio
from pathlib import Path

import pytest

from modelport.kube.client import Client
from modelport.kube.exchange import Broken
from modelport.kube.own_socket import HIGH_WATER_BYTES, OwnSocket, identity

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Said:
    """A server on a Unix socket that answers each request with the next of its answers."""

    def __init__(self, folder: Path, *answers: bytes | list[bytes]) -> None:
        self.path = folder / "api.sock"
        self.answers = list(answers)
        self.connections = 0
        self.heads: list[str] = []
        self.sent = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> OwnSocket:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        self.transport = OwnSocket(self.path)
        return self.transport

    async def __aexit__(self, *_: object) -> None:
        await self.transport.close()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while self.answers:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                answer = self.answers.pop(0)
                for part in answer if isinstance(answer, list) else [answer]:
                    writer.write(part)
                    await writer.drain()
                    self.sent += len(part)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def get(transport: OwnSocket, wait_s: float = 10.0) -> bytes:
    answer = await transport.ask("GET", "/x", params={}, headers={}, wait_s=wait_s)
    return await answer.read()


def test_one_connection_carries_exchange_after_exchange(tmp_path):
    """Every status that is written would open a connection else."""

    async def run() -> None:
        said = Said(tmp_path, OK, OK, OK)
        async with said as transport:
            assert [await get(transport) for _ in range(3)] == [b"{}"] * 3
        assert said.connections == 1

    asyncio.run(run())


def test_exchanges_at_once_do_not_wait_for_each_other(tmp_path):
    """Dozens of watches are open for ever."""

    async def run() -> None:
        said = Said(tmp_path, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", OK)
        async with said as transport:
            watch = await transport.ask("GET", "/watch", params={}, headers={}, wait_s=None)
            assert await get(transport) == b"{}"
            await watch.close()
        assert said.connections == 2

    asyncio.run(run())


def test_a_connection_that_the_server_closed_is_not_used_again(tmp_path):
    """A restarted API server must not cost the node a failed write."""

    async def run() -> None:
        closing = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
        said = Said(tmp_path, closing, OK)
        async with said as transport:
            assert [await get(transport), await get(transport)] == [b"{}", b"{}"]
        assert said.connections == 2

    asyncio.run(run())


def test_connections_that_the_server_gives_up_are_forgotten(tmp_path):
    """A burst of requests an hour must not leave its connections in memory, one burst beside the other."""

    async def run() -> None:
        said = Said(tmp_path, OK, OK, OK)
        async with said as transport:
            answers = await asyncio.gather(*(get(transport) for _ in range(3)))
            assert (answers, said.connections, len(transport.idle)) == ([b"{}"] * 3, 3, 3)
            for writer in said.writers:
                writer.close()
            async with asyncio.timeout(10):
                while transport.idle:
                    await asyncio.sleep(0.01)

    asyncio.run(run())


def test_an_answer_that_was_left_early_leaves_no_rest_to_the_next(tmp_path):
    """A watch that is given up amid its events; the next request must not read them as its answer."""

    async def run() -> None:
        events = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n"
        said = Said(tmp_path, events, OK, OK)
        async with said as transport:
            answer = await transport.ask("GET", "/watch", params={}, headers={}, wait_s=10.0)
            async for line in answer.lines():
                assert line == "one"
                break
            await answer.close()
            assert await get(transport) == b"{}"
            await answer.close()  # once more: it must not close what others use by now
            assert await get(transport) == b"{}"
        assert said.connections == 2

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\n\r\n{", "closed the connection"),
        (b"HTTP/1.1 200", "closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"),
    ],
    ids=["short body", "short chunk", "no length", "short head", "no HTTP"],
)
def test_half_an_answer_is_none(tmp_path, answer, words):
    """A list that is cut short would look as if pods had been deleted."""

    async def run() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        async with await asyncio.start_unix_server(serve, tmp_path / "api.sock"):
            with pytest.raises(Broken, match=words):
                await get(OwnSocket(tmp_path / "api.sock"))

    asyncio.run(run())


def test_a_server_that_says_nothing_is_given_up(tmp_path):
    async def run() -> None:
        async with Said(tmp_path, b"") as transport:
            with pytest.raises(Broken, match="nothing came"):
                await get(transport, wait_s=0.05)

    asyncio.run(run())


def test_nobody_there_is_told(tmp_path):
    with pytest.raises(Broken, match=r"api\.sock"):
        asyncio.run(get(OwnSocket(tmp_path / "api.sock")))


def test_a_slow_reader_stops_the_server_and_loses_nothing(tmp_path):
    """A large list, read by a busy program: it must not be in memory twice over, and must be whole."""
    part = b"x" * 65536
    count = HIGH_WATER_BYTES * 16 // len(part)

    async def run() -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {count * len(part)}\r\n\r\n".encode()
        said = Said(tmp_path, [head, *[part] * count])
        async with said as transport:
            answer = await transport.ask("GET", "/x", params={}, headers={}, wait_s=10.0)
            before = -1
            while said.sent != before:  # until the server cannot send any more
                before = said.sent
                await asyncio.sleep(0.1)
            assert said.sent < HIGH_WATER_BYTES * 4
            assert len(await answer.read()) == count * len(part)

    asyncio.run(run())


def test_what_a_query_holds_arrives_as_it_was(tmp_path):
    """Selectors hold commas, spaces and equals signs."""

    async def run() -> str:
        said = Said(tmp_path, OK)
        async with said as transport:
            params = {"labelSelector": "a in (b, c),d=é&f"}
            await (await transport.ask("GET", "/api/ä b", params=params, headers={}, wait_s=10.0)).read()
        return said.heads[0]

    assert asyncio.run(run()).startswith(
        "GET /api/%C3%A4%20b?labelSelector=a%20in%20%28b%2C%20c%29%2Cd%3D%C3%A9%26f HTTP/1.1\r\nHost: localhost\r\n"
    )


KUBECONFIG = """\
clusters:
- name: modelport
  cluster:
    server: https://127.0.0.1:6443
users:
- name: modelport
  user:
    token: abc-_.~+/=
"""


def test_the_platforms_own_kubeconfig_needs_no_parser(tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    assert identity(path) == ("abc-_.~+/=", "https://127.0.0.1:6443")


@pytest.mark.parametrize(
    "content",
    [
        KUBECONFIG.replace("abc-_.~+/=", '"abc"'),
        KUBECONFIG.replace("abc-_.~+/=", "abc  # mine"),
        KUBECONFIG + "- name: another\n  user:\n    token: def\n",
        '{"users": [{"user": {"token": "abc"}}]}',
    ],
    ids=["quoted", "commented", "two users", "JSON"],
)
def test_a_kubeconfig_that_somebody_has_written_is_read_as_yaml(tmp_path, content):
    """Else a wrong token would be sent, or half of one."""
    path = tmp_path / "kubeconfig"
    path.write_text(content)
    assert identity(path) is None


def test_a_kubeconfig_that_was_edited_serves_over_the_socket_too(tmp_path):
    """A token that somebody has put in quotes."""
    path = tmp_path / "kubeconfig"
    contexts = "contexts:\n- name: m\n  context: {cluster: modelport, user: modelport}\ncurrent-context: m\n"
    path.write_text(KUBECONFIG.replace("abc-_.~+/=", '"abc"') + contexts)

    async def run() -> str:
        said = Said(tmp_path, OK)
        async with said:
            async with Client.from_kubeconfig(path, socket=said.path) as client:
                await client.request("GET", "/version")
        return said.heads[0]

    assert "Authorization: Bearer abc\r\n" in asyncio.run(run())
