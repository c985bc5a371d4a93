"""What can go wrong between a URI and a local folder, in words: URI, step, credential, and the next thing to try."""

from __future__ import annotations

from typing import Literal

Step = Literal["resolve", "authenticate", "list", "read", "write", "verify", "unpack"]
"""Where in a fetch it happened, in the order of a fetch; `write` is the local disk."""

Reason = Literal[
    "InvalidURI",
    "NotFound",
    "Unauthenticated",
    "PermissionDenied",
    "Unreachable",
    "Refused",
    "Corrupt",
    "Unsupported",
    "NoSpace",
    "Failed",
]
"""For programs: what kind of trouble, as conditions and events name it."""


class StorageError(Exception):
    """A model could not be fetched.

    `transient` says whether the same call may succeed later without anybody's doing.
    """

    def __init__(
        self,
        step: Step,
        problem: str,
        hint: str = "",
        *,
        reason: Reason = "Failed",
        transient: bool = False,
        uri: str = "",
        credential: str = "",
    ) -> None:
        super().__init__(problem)
        self.step: Step = step
        self.problem = problem
        self.hint = hint
        self.reason: Reason = reason
        self.transient = transient
        self.uri = uri
        self.credential = credential
        self.exhausted = False
        """Transient, and tried again for as long as the budget allows."""
        self.at = ""
        """Host and port that did not do its part, where it is known: a scheme may have another to ask."""

    def about(self, uri: str, credential: str) -> StorageError:
        """Adds what only the caller of a scheme knows, where it is missing."""
        self.uri = self.uri or uri
        self.credential = self.credential or credential
        return self

    @property
    def message(self) -> str:
        """Where and what, without the hint."""
        where = f"{self.uri}: {self.step}" if self.uri else self.step
        used = f" (with {self.credential})" if self.credential else ""
        return f"{where}: {self.problem}{used}"

    def __str__(self) -> str:
        text = self.message
        if not self.hint:
            return text
        return f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {self.hint}"


class Cancelled(Exception):
    """The caller's event was set."""


class Changed(Exception):
    """What is read is no longer what was listed: list anew."""


class NoRange(Exception):
    """The server sent the whole file where a part was asked for: read it from the beginning, in one go."""


def transient(step: Step, problem: str, hint: str = "", *, at: str = "") -> StorageError:
    """Trouble that may pass: worth trying again inside the budget."""
    told = StorageError(step, problem, hint, reason="Unreachable", transient=True)
    told.at = at
    return told
