"""A custom predictor for KServe, in the manner of its documentation. Nothing here is written for Modelport:
the tests run it as it is, and once more with its import lines changed."""

# ruff: noqa: UP006, UP007, UP035, RUF013 - as its documentation has it
import argparse
import json
from typing import Dict, Union

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from kserve.errors import InferenceError, InvalidInput


class Scorer(Model):
    """Sums rows. All hooks, with headers both ways."""

    def __init__(self, name: str):
        super().__init__(name, return_response_headers=True)
        self.load()

    def load(self):
        self.weight = 2.0
        self.ready = True
        return self.ready

    async def preprocess(
        self, payload: Union[Dict, InferRequest], headers: Dict[str, str] = None
    ) -> Union[Dict, InferRequest]:
        if isinstance(payload, dict) and "rows" in payload:
            return {"instances": payload["rows"], "renamed": True}
        return payload

    def predict(
        self,
        payload: Union[Dict, InferRequest],
        headers: Dict[str, str] = None,
        response_headers: Dict[str, str] = None,
    ) -> Union[Dict, InferResponse]:
        response_headers["x-scored-by"] = self.name
        if headers.get("x-fail") == "input":
            raise InvalidInput("scorer does not like this")
        if headers.get("x-fail") == "inference":
            raise InferenceError("scorer failed")
        if headers.get("x-fail") == "value":
            raise ValueError("scorer broke")
        if headers.get("x-fail") == "later":
            raise NotImplementedError("scorer cannot do this")
        if isinstance(payload, InferRequest):
            array = payload.inputs[0].as_numpy()
            sums = array.astype(np.float64).reshape(len(array), -1).sum(axis=1) * self.weight
            output = InferOutput("score", list(sums.shape), "FP64")
            output.set_data_from_numpy(sums, binary_data=payload.use_binary_outputs)
            label = InferOutput("label", [len(sums)], "BYTES", data=[f"row {one:g}" for one in sums])
            return InferResponse(
                response_id=payload.id,
                model_name=self.name,
                infer_outputs=[output, label],
                parameters={"weight": "2"},
                use_binary_outputs=payload.use_binary_outputs,
                requested_outputs=payload.request_outputs,
            )
        sums = [sum(row) * self.weight for row in payload["instances"]]
        return {"predictions": sums, "renamed": payload.get("renamed", False)}

    def postprocess(
        self,
        result: Union[Dict, InferResponse],
        headers: Dict[str, str] = None,
        response_headers: Dict[str, str] = None,
    ) -> Union[Dict, InferResponse]:
        response_headers["x-user-agent-seen"] = str("user-agent" in headers).lower()
        if isinstance(result, dict):
            result["caller"] = headers.get("x-caller", "")
        return result

    def explain(self, payload: Dict, headers: Dict[str, str] = None) -> Dict:
        return {"explanations": [[value * self.weight for value in row] for row in payload["instances"]]}


class Teller(Model):
    """Tells what it was given, of any form."""

    def __init__(self, name: str):
        super().__init__(name)
        self.ready = True

    def get_input_types(self):
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]

    def get_output_types(self):
        return [{"name": "told", "datatype": "BYTES", "shape": [1]}]

    async def predict(self, payload, headers=None):
        if not isinstance(payload, InferRequest):
            return {
                "predictions": [
                    type(payload).__name__,
                    payload if isinstance(payload, dict) else len(payload),
                ]
            }
        told = {
            "model": payload.model_name,
            "parameters": {name: str(value) for name, value in (payload.parameters or {}).items()}
            if not payload.from_grpc
            else sorted(payload.parameters or {}),
            "inputs": [self._tell(one) for one in payload.inputs],
            "outputs": [one.name for one in payload.request_outputs or []] if not payload.from_grpc else None,
        }
        text = json.dumps(told, sort_keys=True)
        return InferResponse(payload.id, self.name, [InferOutput("told", [1], "BYTES", [text])])

    @staticmethod
    def _tell(given):
        array = given.as_numpy()
        text = None
        if given.datatype == "BYTES":
            elements = array.ravel().tolist()
            text = [one.decode() if isinstance(one, bytes) else one for one in elements]
            text.append(type(elements[0]).__name__)
        return [given.name, given.datatype, list(given.shape), str(array.dtype), str(array.shape), text]


class Frame(Model):
    """Takes a table, whichever way it comes."""

    def __init__(self, name: str):
        super().__init__(name)
        self.ready = True

    def predict(self, payload, headers=None):
        frame = payload.as_dataframe()
        names = [f"{column}:{frame[column].dtype.kind}" for column in frame.columns]
        told = json.dumps([names, frame.to_numpy().astype(str).tolist()])
        return InferResponse(payload.id, self.name, [InferOutput("told", [1], "BYTES", [told])])


class Verbatim(Model):
    """Answers in its own words."""

    def __init__(self, name: str):
        super().__init__(name)
        self.ready = True

    def predict(self, payload, headers=None):
        kind = payload["instances"][0]
        if kind == "text":
            return "just text"
        if kind == "bytes":
            return b"just bytes"
        return {"any": {"thing": [1, 2.5, None, "é"]}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    args, _ = parser.parse_known_args()
    models = [Scorer("scorer"), Teller("teller"), Frame("frame"), Verbatim("verbatim")]
    ModelServer(http_port=args.http_port, grpc_port=args.grpc_port).start(models)
