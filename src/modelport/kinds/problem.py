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
        text = f"{self.field}: {self.message}" if self.field else self.message
        return f"{text} {self.hint}" if self.hint else text

    def cause(self) -> Cause:
        """As a cause of a `Status`."""
        return Cause(self.field, self.reason, f"{self.message} {self.hint}" if self.hint else self.message)
