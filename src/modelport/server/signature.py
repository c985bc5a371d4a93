"""A model's signature: what it takes and gives, by name, datatype and shape."""

from __future__ import annotations

from typing import Literal

import msgspec


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input or output.

    `shape` has -1 for an axis of any length; the first axis counts rows. A column has shape `(-1,)`.
    `categories` are the values that a categorical column may take, in the order of their codes; others are
    refused. An `optional` column may be left out and be of any datatype: the model does not use it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] = (-1,)
    categories: tuple[str | int | float | bool, ...] | None = None
    optional: bool = False


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
