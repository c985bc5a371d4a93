"""Colours of states, on a terminal only: green is well, yellow takes time or wants a look, red is wrong.

NO_COLOR, CLICOLOR=0 and TERM=dumb take them away, CLICOLOR_FORCE=1 gives them to pipes, too.
"""

from __future__ import annotations

import os
import sys
from typing import Literal, TextIO

Tone = Literal["good", "look", "bad", ""]
CODES = {"good": "32", "look": "33", "bad": "31"}
GOOD = {"True", "Running", "Ready", "Succeeded", "Completed", "Active", "Bound", "Available", "Loaded", "ok"}
LOOK = {
    "Unknown",
    "Pending",
    "ContainerCreating",
    "PodInitializing",
    "Terminating",
    "Progressing",
    "Loading",
    "Warning",
    "note",
}
BAD = {"False", "Failed", "Error", "OOMKilled", "FailedToLoad", "bad"}
BAD_ENDS = ("BackOff", "Error", "Invalid")
COLUMNS = {"READY", "STATUS"}
"""Of tables: those whose cells are states."""
REVERSED = {"Stopped", "FieldsIgnored"}
"""Conditions that are well when they are False."""


def wanted(stream: TextIO | None) -> bool:
    """Whether what goes there is coloured; None is a stream that was closed by whoever called."""
    if stream is None:
        return False
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return True
    if os.environ.get("CLICOLOR") == "0" or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, tone: Tone, stream: TextIO | None = None) -> str:
    """The text in a tone's colour, where it is wanted. Spaces around it stay as they are."""
    bare = text.strip()
    if not tone or not bare or not wanted(stream or sys.stdout):
        return text
    return text.replace(bare, f"\x1b[{CODES[tone]}m{bare}\x1b[0m", 1)


def tone(word: str) -> Tone:
    """What a state's word means; "1/2" is a count of what is ready."""
    word = word.strip()
    ready, slash, all_ = word.partition("/")
    if slash and ready.isdecimal() and all_.isdecimal():
        return "good" if ready == all_ else "look"
    if word in GOOD:
        return "good"
    if word in BAD or word.startswith("Err") or word.endswith(BAD_ENDS):
        return "bad"
    return "look" if word in LOOK or word.startswith("Init:") else ""


def state(text: str) -> str:
    """A state's word, on standard output."""
    return paint(text, tone(text))


def condition(name: str, text: str) -> str:
    """A condition's status, by its name."""
    if name in REVERSED:
        return paint(text, "look" if text.strip() == "True" else "")
    return state(text)
