"""Reading one file over HTTP, in parts: what the hubs and registries have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from modelport.storage.failure import Changed, NoRange, StorageError
from modelport.storage.source import Read
from modelport.storage.transport import Answer, Transport, bad_status

Headers = Callable[[], Mapping[str, str]]


def reader(
    transport: Transport,
    url: str | Callable[[int, int | None], str],
    *,
    secret_headers: Headers = dict,
    credential: str = "",
    name: str = "",
    told: Callable[[Answer], StorageError | None] = lambda answer: None,
    renew: Callable[[], bool] = lambda: False,
    by_url: bool = False,
) -> Read:
    """A `read` for a file whose content is named by its address: a commit, a digest.

    Where the address redirects (to a store with a signed address), later parts go there at once, until it says no.
    `told` puts a bad answer into the store's own words; `renew` gets another token after a 401. With `by_url` the
    part that is wanted is in the address that `url` gives, not in a header.
    """
    lock = threading.Lock()
    short: list[str] = []

    def ask(start: int, stop: int | None) -> Answer:
        headers: dict[str, str] = {}
        if (start or stop is not None) and not by_url:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        with lock:
            direct = short[0] if short else None
        where = url(start, stop) if callable(url) else url
        if direct is not None and not by_url:
            answer = transport.open("GET", direct, headers, step="read")
            if answer.status in (200, 206):
                return answer
            answer.close()
            with lock:
                short.clear()
        answer = transport.open("GET", where, headers, secret_headers=secret_headers(), step="read")
        if answer.status == 401 and renew():
            answer.close()
            answer = transport.open("GET", where, headers, secret_headers=secret_headers(), step="read")
        if answer.status in (200, 206) and answer.url != where and not by_url:
            with lock:
                short[:] = [answer.url]
        return answer

    def read(start: int, stop: int | None) -> Iterator[bytes]:
        answer = ask(start, stop)
        try:
            if answer.status == 416:
                raise Changed
            if answer.status not in (200, 206):
                raise told(answer) or bad_status(answer, "read", credential, name)
            if (start or stop is not None) and answer.status == 200 and not by_url:
                raise NoRange
            left = None if stop is None else stop - start
            for chunk in answer.chunks():
                if left is not None:
                    chunk = chunk[:left]
                    left -= len(chunk)
                yield chunk
                if left == 0:
                    return
        finally:
            answer.close()

    return read
