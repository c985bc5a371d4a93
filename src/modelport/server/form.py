"""Which form a model has, from the annotations of its `predict`; asked once, when it is registered."""

from __future__ import annotations

import collections.abc
import enum
import inspect
import logging
import sys
import types
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from modelport.server.model import Model

logger = logging.getLogger("modelport")

EXTRAS = ("parameters", "headers", "response_headers")
"""Parameters of a `predict` that takes arrays which are no inputs."""
_STREAMS = (
    collections.abc.Iterator,
    collections.abc.Generator,
    collections.abc.AsyncIterator,
    collections.abc.AsyncGenerator,
    collections.abc.AsyncIterable,
)


class Form(enum.Enum):
    """How a model wants its requests."""

    ARRAYS = "arrays"
    """`predict` takes tensors as arrays."""
    PAYLOAD = "payload"
    """KServe's: the JSON body or an InferRequest, one request a call."""


class Taken(NamedTuple):
    """A parameter that takes an input."""

    name: str
    is_frame: bool
    """A DataFrame of all inputs."""
    dtype: np.dtype[Any] | None
    """What the input is cast to."""
    required: bool


class Accepts(NamedTuple):
    """The parameters of a method that takes arrays."""

    inputs: tuple[Taken, ...]
    extras: tuple[str, ...]


def form_of(model: Model) -> Form:
    """The form of a model.

    ARRAYS if every parameter of `predict` (but `parameters`, `headers` and `response_headers`) is annotated as
    an array or DataFrame, and so are those of `preprocess` and `postprocess` where the model has its own.
    Raises TypeError for annotations that promise what we do not do.
    """
    if not model.overrides("predict") or accepts(model.predict) is None:
        return Form.PAYLOAD
    for hook in ("preprocess", "postprocess"):
        if model.overrides(hook) and not _takes_arrays(getattr(model, hook), of_result=hook == "postprocess"):
            return Form.PAYLOAD
    return Form.ARRAYS


def accepts(method: Callable[..., Any]) -> Accepts | None:
    """The parameters of a method if they are arrays, else None."""
    hints = hints_of(method)
    inputs: list[Taken] = []
    extras: list[str] = []
    for parameter in inspect.signature(method).parameters.values():
        hint = hints.get(parameter.name)
        if _is_list_of_requests(hint):
            raise TypeError(
                f"{method.__qualname__}: {parameter.name} asks for a list of requests, which is not supported. "
                "Take arrays, which are joined across requests, or one payload."
            )
        taken = _taken(parameter, hint)
        if taken is not None:
            inputs.append(taken)
        elif parameter.name in EXTRAS:
            extras.append(parameter.name)
        else:
            return None
    if not inputs:
        return None
    if len(inputs) > 1 and any(taken.is_frame for taken in inputs):
        raise TypeError(
            f"{method.__qualname__}: a DataFrame takes all inputs, so it must be the only one. "
            "Use arrays for the others, or take columns from the frame."
        )
    return Accepts(tuple(inputs), tuple(extras))


def is_async(method: Callable[..., Any]) -> bool:
    """Whether a method is declared async, generators included."""
    function = inspect.unwrap(getattr(method, "__func__", method))
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def streams(method: Callable[..., Any]) -> bool:
    """Whether a method is a generator or says that it returns an iterator."""
    function = inspect.unwrap(getattr(method, "__func__", method))
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return True
    hint = hints_of(method).get("return")
    return (typing.get_origin(hint) or hint) in _STREAMS


def hints_of(method: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a method, strings resolved. What cannot be resolved is left out and logged."""
    try:
        return typing.get_type_hints(method, include_extras=False)
    except Exception:  # noqa: BLE001 - whatever an annotation raises when evaluated
        function = inspect.unwrap(getattr(method, "__func__", method))
        return _one_by_one(function)


def _one_by_one(function: Any) -> dict[str, Any]:
    names = {"np": np, "numpy": np, "pd": sys.modules.get("pandas")} | getattr(function, "__globals__", {})
    hints: dict[str, Any] = {}
    for name, hint in getattr(function, "__annotations__", {}).items():
        try:
            hints[name] = eval(hint, names) if isinstance(hint, str) else hint  # noqa: S307 - the author's code
        except Exception:  # noqa: BLE001
            logger.warning(
                "%s: annotation %r of %s cannot be resolved and is ignored. Import its names at module level.",
                getattr(function, "__qualname__", function), hint, name,
            )  # fmt: skip
    return hints


def _taken(parameter: inspect.Parameter, hint: Any) -> Taken | None:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return None
    required = parameter.default is parameter.empty
    for option in _options(hint):
        if _is_array(option):
            return Taken(parameter.name, False, _dtype(option), required)
        if _is_frame(option):
            return Taken(parameter.name, True, None, required)
    return None


def _takes_arrays(method: Callable[..., Any], *, of_result: bool) -> bool:
    if not of_result:
        return accepts(method) is not None
    first = next(iter(inspect.signature(method).parameters), None)
    return first is not None and any(_holds_arrays(hint) for hint in _options(hints_of(method).get(first)))


def _holds_arrays(hint: Any) -> bool:
    members = typing.get_args(hint) if typing.get_origin(hint) in (dict, tuple) else (hint,)
    return any(_is_array(member) or _is_frame(member) for member in members)


def _options(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(option for option in typing.get_args(hint) if option is not types.NoneType)
    return (hint,)


def _is_array(hint: Any) -> bool:
    return hint is np.ndarray or typing.get_origin(hint) is np.ndarray


def _is_frame(hint: Any) -> bool:
    module = getattr(hint, "__module__", "")
    return isinstance(hint, type) and hint.__name__ == "DataFrame" and module.partition(".")[0] == "pandas"


def _is_list_of_requests(hint: Any) -> bool:
    if typing.get_origin(hint) not in (list, collections.abc.Sequence):
        return False
    return any(getattr(member, "__name__", "") == "InferRequest" for member in typing.get_args(hint))


def _dtype(hint: Any) -> np.dtype[Any] | None:
    arguments = typing.get_args(hint)
    if len(arguments) < 2:
        return None
    scalars = typing.get_args(arguments[1])
    scalar = scalars[0] if scalars else None
    # Abstract types such as np.floating ask for no particular dtype.
    return np.dtype(scalar) if scalar in set(np.sctypeDict.values()) else None
