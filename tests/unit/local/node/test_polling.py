"""How often a store is asked, and what counts as a change."""

from __future__ import annotations

import pytest

from modelport.local.node.polling import interval_s, mark


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("30s", 30), ("1.5m", 90), ("1h", 3600), (" 2d ", 172800)]
)
def test_intervals_are_a_number_and_a_unit(text, seconds):
    assert interval_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "five", "4.9s", "0h", "1e3s"])
def test_others_are_refused_in_words(text):
    with pytest.raises(ValueError, match=r"^annotation serving.modelport.io/storage-poll: "):
        interval_s(text)


def test_a_mark_tells_what_was_asked_for_and_what_was_found():
    one = mark(["s3://b/m", "/mnt/models"], {"/mnt/models": "sha256:1"})
    assert one == mark(["s3://b/m", "/mnt/models"], {"/mnt/models": "sha256:1"})
    assert one != mark(["s3://b/m", "/mnt/models"], {"/mnt/models": "sha256:2"})
    assert one != mark(["s3://b/n", "/mnt/models"], {"/mnt/models": "sha256:1"})
