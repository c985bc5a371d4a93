"""What is wrong with something that was declared: the value that validation and `render` return."""

from __future__ import annotations

import msgspec

from modelport.kube.errors import Cause


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, where, and what to do."""

    field: str
    """Path, as in `spec.predictor.minReplicas`; empty where it is about the whole."""
    message: str
    """What is wrong and the value that was given."""
    hint: str = ""
    """The next step, a sentence."""
    reason: str = "FieldValueInvalid"
    """CamelCase, for programs: Kubernetes' word for a field, or a condition's reason."""

    def __str__(self) -> str:
        """Where, what, what to do: one line."""
        return f"{self.field}: {self._words}" if self.field else self._words

    def cause(self) -> Cause:
        """As a cause of a `Status`."""
        return Cause(self.field, self.reason, self._words)

    @property
    def _words(self) -> str:
        """Message and hint, as two sentences."""
        if not self.hint:
            return self.message
        return f"{self.message}{'' if self.message.endswith(('.', '!', '?', ':')) else '.'} {self.hint}"
