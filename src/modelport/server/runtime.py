"""The contract between the server and a runtime, that is one framework's way to load and run a model.

A runtime says which files it knows, loads and predicts, and no more: finding the file, checking requests
against the signature, warming up and wording errors is written once, in this room.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from modelport.protocol.datatype import Array
from modelport.protocol.errors import InferenceError
from modelport.server.signature import Signature


class LoadError(Exception):
    """A model cannot be loaded. The message names the file, the cause and the command that mends it."""


class Unusable(InferenceError):
    """The model failed in a way that this process does not recover from, such as a GPU whose context is lost.

    The request gets the error; the server then replaces the process.
    """


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a user may set for a model, read once, at load."""

    name: str = "model"
    """The name that the model is served under."""
    predict_proba: bool = False
    """Answer with class probabilities instead of labels (KServe's PREDICT_PROBA)."""
    threads: int = 1
    """Threads that the framework may use for one prediction (KServe's --nthread)."""
    device: str = "auto"
    """Where to compute: `cpu`, `cuda`, `cuda:1`; `auto` is the runtime's choice."""
    signature: Signature | None = None
    """The signature saved beside the model, if there is one; it wins over what the artifact says."""
    allow_pickle: bool = True
    """Whether formats that can execute code on load (pickle, joblib, torch) may be loaded."""
    shortcuts: bool = True
    """Whether scikit-learn's estimators may be answered for without their own methods, where that is proven equal."""


class LoadedModel(abc.ABC):
    """A model in memory."""

    signature: Signature
    """What it takes and gives, as far as the artifact says."""
    platform: str
    """Framework and form for V2 metadata, such as `sklearn_joblib` or `onnxruntime_onnx`."""
    description: str
    """What was found, such as `Pipeline, 7 columns (age FP64, city BYTES, …), 2 classes`."""
    notes: tuple[str, ...] = ()
    """Warnings for the user, such as a version that differs from the one that saved the model."""
    remarks: tuple[str, ...] = ()
    """What else the user is told when it is loaded."""
    accepts_missing: bool = False
    """Whether a null (NaN, None) is a missing value to it; otherwise nulls are refused."""
    batchable: bool = True
    """Whether the rows of several requests may be predicted together."""

    @abc.abstractmethod
    def predict(self, inputs: Mapping[str, Array], parameters: Mapping[str, object]) -> Mapping[str, Array]:
        """Predicts all rows.

        `inputs` have been checked against the signature. With kind `tensors` they are named as in the
        signature and have its dtypes. With kind `columns` they are either the one entry `""`, a numeric matrix
        `[rows, columns]`, or one array `[rows]` a column, named and ordered as in the signature; text is an
        object array of `str`, null is NaN or None. Without a signature they are as the client sent them.
        `parameters` are the request's. Outputs have the rows on their first axis; the arrays may be of any
        dtype that `datatype_of` knows, object and str arrays become BYTES.

        Raises InvalidInput where the request is at fault; anything else counts as the model's failure.
        """

    def close(self) -> None:  # noqa: B027 - most models have nothing to free
        """Frees what garbage collection would not."""


class Runtime(abc.ABC):
    """One framework. Subclasses are stateless; heavy imports happen inside `load` only."""

    name: ClassVar[str]
    """Such as `sklearn`: KServe's model format name where there is one."""
    extra: ClassVar[str]
    """The extra of our package that installs the framework."""
    modules: ClassVar[tuple[str, ...]]
    """Modules that a parent process imports before it forks workers; importing them is safe to share."""
    suffixes: ClassVar[tuple[str, ...]]
    """File name endings that may be this runtime's, lower case."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Whether the file is this runtime's, judged by its first bytes where the ending is ambiguous."""
        return path.suffix.lower() in cls.suffixes

    @classmethod
    def needs(cls, path: Path) -> Iterable[str]:
        """More modules that this file will need, as far as can be seen without loading it: a parent imports them
        too. Names that are none do no harm."""
        return ()

    @classmethod
    @abc.abstractmethod
    def load(cls, path: Path, settings: Settings) -> LoadedModel:
        """Loads the artifact at `path`, a file. Raises LoadError with the cause and its cure."""
