"""What `modelport status` says of a program that is not there."""

from __future__ import annotations

from modelport.cli.status import last_words
from modelport.local.folder import Folder


def test_a_program_that_gave_a_reason_is_quoted(tmp_path):
    """Whoever finds the API server gone would have to know where its log is, and to read it."""
    folder = Folder(tmp_path)
    folder.make()
    assert last_words(folder, "control") == ""
    log = folder.logs / "control.log"
    log.write_text(
        "2026-11-27 08:16:00,288 INFO modelport.control: API server on 127.0.0.1:58537\n"
        "2026-11-27 08:19:56,707 ERROR modelport.control: state.db: is damaged: it ends.\n"
    )
    said = " since 2026-11-27 08:19:56,707: state.db: is damaged: it ends."
    assert last_words(folder, "control") == said
    with log.open("a") as more:
        more.write("2026-11-27 08:20:00,288 INFO modelport.control: API server on 127.0.0.1:58537\n")
    assert last_words(folder, "control") == "", "it came back, and was killed: no reason of its own"
