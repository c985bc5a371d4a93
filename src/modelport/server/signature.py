"""A model's signature: what it takes and gives, by name, datatype and shape."""

from __future__ import annotations

from typing import Literal

import msgspec
import msgspec.structs


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output.

    `shape` has -1 for an axis of any length; the first axis counts rows. A column has shape `(-1,)`.
    `categories` are the values that a categorical column may take, in the order of their codes; others are
    refused. An `optional` column may be left out and be of any datatype: the model does not use it. A
    `text_or_integers` column takes both, and bools for 0 and 1, whichever of them `datatype` names: the model knows
    each value by its text.
    """

    name: str
    datatype: str
    # By a factory, so that it is always written: the data plane has no default for it.
    shape: tuple[int, ...] = msgspec.field(default_factory=lambda: (-1,))
    categories: tuple[str | int | float | bool, ...] | None = None
    optional: bool = False
    text_or_integers: bool = False


class Signature(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model takes and gives.

    `kind` says how inputs are meant: `tensors` are arrays found by name; `columns` are the columns of a
    table, which may come as one matrix `[rows, columns]` or as one tensor `[rows]` a column, in any
    order. A table whose columns have no names is one input of shape `(-1, columns)`. Empty `inputs` mean
    that the artifact does not say.
    """

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    kind: Literal["tensors", "columns"] = "tensors"


def enriched(saved: Signature | None, own: Signature, *, proba: bool = False) -> Signature:
    """The signature saved beside an artifact, with what only the artifact knows; else the artifact's own.

    Names, order and datatypes are as saved. Categories, optional columns and those of text or integers are the
    artifact's where the saved signature, made from a few rows, does not speak of them; so are the outputs where
    probabilities are served, for it speaks of labels.
    """
    if saved is None:
        return own
    mixed = any(spec.text_or_integers for spec in own.inputs)
    if mixed and len(saved.inputs) == 1 and saved.inputs[0].shape[1:] == (len(own.inputs),):
        # A matrix has one datatype, and not all columns of the model have: they are served by their own names.
        saved = msgspec.structs.replace(saved, inputs=own.inputs)
    known = {spec.name: spec for spec in own.inputs}

    def merged(spec: TensorSpec) -> TensorSpec:
        mine = known.get(spec.name)
        if mine is None:
            return spec
        if mine.text_or_integers:
            # The model takes categories that it has never seen: those of the data frame that was saved bound nobody.
            datatype = mine.datatype if spec.datatype in ("FP16", "FP32", "FP64") else spec.datatype
            return msgspec.structs.replace(spec, datatype=datatype, categories=None, text_or_integers=True)
        return msgspec.structs.replace(
            spec, categories=spec.categories or mine.categories, optional=spec.optional or mine.optional
        )

    return msgspec.structs.replace(
        saved,
        inputs=tuple(merged(spec) for spec in saved.inputs) or own.inputs,
        outputs=own.outputs if proba else saved.outputs or own.outputs,
    )
