"""From a loaded estimator to the shortcuts that are used for it."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# (scikit-learn is untyped, and so is everything read from its estimators)

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from modelport.runtimes.framework import framework
from modelport.runtimes.shortcut import proof
from modelport.runtimes.shortcut.family import METHODS, VERSIONS, made_of
from modelport.runtimes.shortcut.form import NUMBERS, Function, Made, NotCovered, version
from modelport.runtimes.shortcut.proof import Inputs

logger = logging.getLogger("modelport")

Quick = Callable[[Inputs], Any]
"""A method of an estimator: what `LoadedModel.predict` is given to what the method returns. Raises NotCovered."""


class Taken(NamedTuple):
    """What is known of a loaded model, and how its own methods are given a request's inputs."""

    names: Sequence[str]
    """Its columns, in the order of inputs that come by column."""
    is_direct: bool
    """Whether a matrix goes to its own methods as it came."""
    is_framed: bool
    """Whether its own methods take a data frame."""
    has_gaps: bool
    """Whether missing values may be sent."""
    table: Callable[[Inputs], Any]
    """Makes the matrix or frame that its own methods take."""
    between: Callable[[], None]
    """Called between the steps of a proof, to let others go first."""


def shortcuts_of(model: Any, taken: Taken) -> Mapping[str, Quick]:
    """The methods that have a proven shortcut, by name; none where the estimator is not as expected.

    One that is made and then answers otherwise than the estimator is logged for us: there is nothing that its user
    should do, and often it is the estimator that refuses the rows it was tried with.
    """
    if not _is_known():
        return {}
    for order in ("C", "F"):
        try:
            made = made_of(model, order)
        except Exception:  # noqa: BLE001 - Unusual, or whatever a strange attribute leads to
            return {}
        if made.columns is None and taken.is_framed:
            return {}
        found = {
            name: _entrance(function, made, taken)
            for name, function in made.methods.items()
            if name in METHODS
        }
        is_summed = made.excerpt is None or made.excerpt.is_sum_proven()
        differing = [name for name in found if not (is_summed and _is_proven(model, name, made, taken))]
        if not differing:
            return found
        if made.columns is None:
            break  # the layout of what has columns is left to try
    logger.debug(
        "%s: the shortcut of %s is not proven to answer as its own method does and is not used",
        type(model).__name__,
        ", ".join(differing),
    )
    return {name: quick for name, quick in found.items() if name not in differing}


def _is_known() -> bool:
    config = framework("sklearn", "sklearn").get_config()
    return (
        version() in VERSIONS
        and not config.get("array_api_dispatch")
        and config.get("transform_output", "default") == "default"
        and not config.get("enable_metadata_routing")
    )


def _is_proven(model: Any, name: str, made: Made, taken: Taken) -> bool:
    function = made.methods[name]
    if made.excerpt is not None:
        model, function = made.excerpt.model, made.excerpt.methods[name]
    method, quick = getattr(model, name), _entrance(function, made, taken)

    def own(inputs: Inputs) -> Any:
        taken.between()
        return method(taken.table(inputs))

    if made.columns is None:
        samples = proof.matrices(made.width, made.proof_rows, gaps=taken.has_gaps)
    else:
        samples = proof.tables(taken.names, made.columns, named=taken.is_framed, gaps=taken.has_gaps)
    try:
        return proof.proven(own, quick, samples)
    except Exception:  # noqa: BLE001 - the estimator refuses rows that the shortcut answers
        return False


def _entrance(function: Function, made: Made, taken: Taken) -> Quick:
    if made.columns is not None:
        return _by_column(function, taken)
    table, width, is_direct = taken.table, made.width, taken.is_direct

    def of_matrix(inputs: Inputs) -> Any:
        rows: Any = inputs[""] if is_direct and "" in inputs else table(inputs)
        shape = rows.shape
        if rows.dtype not in NUMBERS or len(shape) != 2 or shape[1] != width or not shape[0]:
            raise NotCovered
        return function(rows)

    return of_matrix


def _by_column(function: Function, taken: Taken) -> Quick:
    keys: Sequence[str | int] = taken.names if taken.is_framed else range(len(taken.names))

    def of_columns(inputs: Inputs) -> Any:
        if "" in inputs:
            columns: Any = inputs[""].T
            if columns.ndim != 2:
                raise NotCovered
        elif taken.is_framed:
            if any(column.ndim != 1 for column in inputs.values()):
                raise NotCovered
            return function(inputs)
        else:
            columns = list(inputs.values())
            if any(column.ndim != 1 for column in columns):
                raise NotCovered
        if len(columns) != len(keys):
            raise NotCovered
        return function(dict(zip(keys, columns, strict=True)))

    return of_columns
