"""What a model predicts from, and what becomes of its answer, as KServe's SDK has it."""

from __future__ import annotations

import uuid
from typing import Any, cast

import numpy as np

from modelport.protocol import json
from modelport.protocol.datatype import datatype_of
from modelport.protocol.errors import InvalidInput
from modelport.protocol.frame import Frame, is_frame, pandas
from modelport.protocol.infer import InferRequest, InferResponse
from modelport.protocol.infer_tensor import InferOutput, objects
from modelport.protocol.tensor import to_named, to_text


def get_predict_input(payload: object, columns: list[str] | None = None) -> Any:
    """What a model predicts from, as `kserve.utils.utils.get_predict_input` has it.

    V1: `inputs` or `instances`; rows that are dicts (or lists of dicts) are a DataFrame, text is a list of
    str, anything else an array. InferRequest: a DataFrame if the parameter `content_type` is `pd`, else the
    first input, text as a list of str.
    """
    if isinstance(payload, dict):
        body = cast("dict[str, Any]", payload)
        for key in ("inputs", "instances"):
            if key in body:
                return _rows(body[key], key, columns)
        raise InvalidInput('body: must have "instances" (or "inputs"), a list of rows.')
    if isinstance(payload, InferRequest):
        if (payload.parameters or {}).get("content_type") == "pd":
            return payload.as_dataframe()
        if not payload.inputs:
            raise InvalidInput("inputs: must have at least one tensor.")
        tensor = payload.inputs[0]
        array = tensor.as_numpy()
        if tensor.datatype == "BYTES" and array.size and isinstance(array.flat[0], str):
            return tensor.data
        return array
    raise InvalidInput(f"unsupported payload type {type(payload)}")


def _rows(rows: Any, key: str, columns: list[str] | None) -> Any:
    if not isinstance(rows, list):
        raise InvalidInput(f'Expected "{key}" to be a list')
    instances = cast("list[Any]", rows)
    first = instances[0] if instances else None
    if isinstance(first, dict) or (isinstance(first, list) and first and isinstance(first[0], dict)):
        try:
            return _frame(instances, isinstance(first, dict) and all(map(_is_record, instances)), columns)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"{key}: the rows are no table ({error}).") from error
    if isinstance(first, str):
        return instances
    try:
        return np.array(instances)
    except ValueError as error:
        raise InvalidInput(f"{key}: the rows differ in length ({error}).") from error


def _frame(instances: list[Any], records: bool, columns: list[str] | None) -> Frame:
    pd = pandas()
    if records:
        return pd.DataFrame.from_records(instances, columns=columns)
    return pd.concat([pd.DataFrame(instance, columns=columns) for instance in instances], axis=0)


def _is_record(row: Any) -> bool:
    """Whether a row has a scalar for every column; KServe also takes columns of lists, which are more rows."""
    return isinstance(row, dict) and not any(
        isinstance(value, list | dict) for value in cast("dict[str, Any]", row).values()
    )


def get_predict_response(payload: object, result: Any, model_name: str) -> dict[str, Any] | InferResponse:
    """The response to a request, as `kserve.utils.utils.get_predict_response` has it.

    V1: a dict with `predictions`. InferRequest: an InferResponse with one output a column of a DataFrame,
    else one output `output-0`.
    """
    if isinstance(payload, dict):
        if is_frame(result):
            return {"predictions": json.rows(result)}
        return {"predictions": result.tolist() if isinstance(result, np.ndarray) else result}
    if isinstance(payload, InferRequest):
        named = to_named(result if is_frame(result) else (result,))
        return InferResponse(
            response_id=payload.id or str(uuid.uuid4()),
            model_name=model_name,
            infer_outputs=[
                InferOutput.of_array(name, objects(to_text(array)).reshape(array.shape))
                if datatype_of(array.dtype) == "BYTES"
                else InferOutput.of_array(name, array)
                for name, array in named.items()
            ],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )
    raise InvalidInput(f"unsupported payload type {type(payload)}")
