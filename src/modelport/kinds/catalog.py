"""All declared kinds, for the API server and the command line."""

from __future__ import annotations

from modelport.kinds import (
    clusterstoragecontainer,
    inferencegraph,
    inferenceservice,
    llminferenceservice,
    localmodel,
    servingruntime,
    trainedmodel,
)
from modelport.kinds.kind import Kind

KINDS: tuple[Kind, ...] = (
    inferenceservice.KIND,
    *servingruntime.KINDS,
    clusterstoragecontainer.KIND,
    inferencegraph.KIND,
    trainedmodel.KIND,
    *localmodel.KINDS,
    *llminferenceservice.KINDS,
)
"""Our kinds, the most used first."""

STORED_ONLY = tuple(
    kind.resource
    for kind in (inferencegraph.KIND, trainedmodel.KIND, *localmodel.KINDS, *llminferenceservice.KINDS)
)
"""Kinds that are stored, defaulted and validated, and not carried out yet: their condition FieldsIgnored says so."""
