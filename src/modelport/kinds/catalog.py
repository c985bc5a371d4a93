"""All declared kinds, for the API server and the command line."""

from __future__ import annotations

from modelport.kinds import clusterstoragecontainer, inferenceservice, servingruntime
from modelport.kinds.kind import Kind

KINDS: tuple[Kind, ...] = (inferenceservice.KIND, *servingruntime.KINDS, clusterstoragecontainer.KIND)
"""Our kinds, the most used first."""
