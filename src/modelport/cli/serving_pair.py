"""The certificate and key that `modelport up` is given, looked at before anything is started with them."""

from __future__ import annotations

from pathlib import Path

from modelport.cli import Mistake
from modelport.cli.home import note

FLAGS = {"tls.crt": "--tls-certificate", "tls.key": "--tls-key"}


def check(certificate: str, key: str, now: float) -> None:
    """A Mistake, with the flag, where the gateway could not serve with them; a warning where clients will refuse it.
    `now`: in seconds since 1970."""
    from modelport._dataplane import read_certificate

    given = {"tls.crt": certificate, "tls.key": key}
    contents: list[bytes] = []
    for name, file in given.items():
        if not Path(file).is_file():
            raise Mistake(f"{FLAGS[name]}: {file}: no such file")
        try:
            contents.append(Path(file).read_bytes())
        except OSError as error:
            raise Mistake(f"{FLAGS[name]}: {file} cannot be read: {error.strerror}") from error
    try:
        since, until, _ = read_certificate(contents[0], contents[1], "*")
    except ValueError as error:
        said = str(error)
        name = "tls.key" if said.startswith("tls.key") else "tls.crt"
        words = said.removeprefix(f"{name}: ")
        for other, flag in FLAGS.items():
            words = words.replace(other, flag)
        raise Mistake(f"{FLAGS[name]}: {given[name]}: {words}") from error
    if not since <= now <= until:
        moment = "has expired" if until < now else "is not valid yet"
        note(
            f"warning: --tls-certificate: {certificate} {moment}: clients will refuse it until it is replaced"
        )
