"""`-d, --data`: a request's body as people give it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from modelport.cli import Mistake

METAVAR = "FILE_OR_JSON"


def read(given: str) -> Any:
    """JSON as it stands, of a file, or of standard input for `-`. A Mistake for what is none."""
    if not given:
        raise Mistake("--data: is empty. Is the variable set that stands for it?")
    if given == "-":
        text, place = sys.stdin.read(), "standard input"
    elif given.lstrip().startswith(("{", "[")):
        text, place = given, "what was given"
    else:
        place = given.removeprefix("@")
        try:
            text = Path(place).read_text()
        except (OSError, UnicodeDecodeError) as error:
            words = getattr(error, "strerror", None) or error
            raise Mistake(f"--data: {place!r} cannot be read: {words}") from error
    try:
        return json.loads(text)
    except ValueError as error:
        raise Mistake(f"--data: {place} is not JSON: {error}") from error
