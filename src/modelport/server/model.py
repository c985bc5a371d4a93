"""`Model`: what an author subclasses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from modelport.protocol.errors import Unimplemented
from modelport.server.signature import Signature


class Model:
    """A model of your own making.

    A request's life: it arrives by V1, V2 REST or gRPC; the data plane decodes it; `preprocess`, `predict`
    and `postprocess` see it; what they return is encoded for the protocol that it came by. `load` runs once
    before all that. There are two forms, and the annotations of `predict` decide which one yours has.

    **Arrays.** Parameters annotated as arrays receive the request's tensors by name (a lone one whatever its
    name), and the waiting requests of several clients arrive as one batch, joined along the first axis:

        class Iris(Model):
            def load(self):
                self.classifier = joblib.load("iris.joblib")
                self.ready = True

            def predict(self, rows: NDArray[np.float32]) -> np.ndarray:
                return self.classifier.predict_proba(rows)

    `NDArray[np.float32]` casts what comes, `NDArray[np.str_]` decodes text, a plain `np.ndarray` takes it as it
    is (text is bytes), `pd.DataFrame` receives a frame of all inputs; a default makes an input optional. Return
    an array (it is called `output-0`), a tuple of arrays, a dict by name, or a DataFrame, with as many rows as
    came. `max_batch_size = 1` keeps requests apart. Parameters called `parameters`, `headers` and
    `response_headers` receive those (the last two keep requests apart as well).

    **Payloads**, as in KServe, where a custom predictor runs after changing its import line. V1 brings the
    JSON body as a dict, V2 REST and gRPC bring an `InferRequest`, one request a call:

        class Scorer(Model):
            async def preprocess(self, payload, headers):
                return {"instances": await self.features.fetch(payload["instances"])}

            def predict(self, payload, headers):
                return {"predictions": [score(row) for row in payload["instances"]]}

    Return a dict, an InferResponse, an array or list (V1 calls it `predictions`, V2 `output-0`), or bytes or
    text, which are sent as they are; name their type with `response_headers["content-type"]`.

    **A generator** of either form streams. Text and bytes are sent as they are, anything else as JSON: a line
    each, or events if the client accepts `text/event-stream`:

        class Counter(Model):
            def predict(self, payload, headers):
                for number in range(payload["instances"][0]):
                    yield {"number": number}

    Every method may be `async`: such requests share one event loop and wait side by side. Others run one
    after the other on the model's thread. A model that overrides `preprocess` or `postprocess` has the
    payload form, unless these are annotated with arrays as well. Raise `InvalidInput` (400), `HTTPError(status, …)`
    or any error (500, logged here with its traceback; the client sees its text).
    """

    max_batch_size: ClassVar[int] = 256
    """The most rows in one call of a `predict` that takes arrays."""
    signature: Signature | None = None
    """Names, datatypes and shapes of inputs and outputs, if you declare them: for metadata and checks."""
    _ready = False
    _on_ready: Callable[[bool], None] | None = None

    def __init__(
        self, name: str, return_response_headers: bool = False, predictor_config: object = None
    ) -> None:
        self.name = name
        self._ready = False
        self.required_response_headers = return_response_headers
        self.predictor_config = predictor_config
        self.explainer_host: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the model can serve now. Set it at any time: the server answers 503 while it is False."""
        return self._ready

    @ready.setter
    def ready(self, ready: bool) -> None:
        self._ready = ready
        if self._on_ready is not None:
            self._on_ready(ready)

    def watch_ready(self, tell: Callable[[bool], None]) -> None:
        """Has `ready` told to the server from now on; called by the server, once it serves the model."""
        self._on_ready = tell
        tell(self._ready)

    def load(self) -> Any:
        """Loads the model and sets `ready`. Called once, before it is served."""
        self.ready = True
        return self.ready

    def start(self) -> Any:
        """Called when the server starts."""
        self.ready = True

    def stop(self) -> Any:
        """Called when the server ends or the model is unloaded."""
        self.ready = False

    async def healthy(self) -> bool:
        """Whether the model can serve now."""
        return self.ready

    async def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Makes of the payload what `predict` takes."""
        return payload

    async def predict(
        self,
        payload: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Predicts. Forwarding to a predictor, KServe's default, is not built yet."""
        hint = ""
        if self.predictor_config is not None:
            hint = " Forwarding to the predictor of predictor_config comes with the platform."
        raise Unimplemented(
            f"Model {self.name} cannot predict: {type(self).__name__} defines no predict method.{hint}"
        )

    async def postprocess(
        self,
        result: Any,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> Any:
        """Makes of the result what the client gets."""
        return result

    async def explain(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Explains a prediction."""
        raise Unimplemented(
            f"Model {self.name} cannot explain: {type(self).__name__} defines no explain method."
        )

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs for V2 metadata: dicts of `name`, `datatype` and `shape`."""
        return _described(self.signature and self.signature.inputs)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs for V2 metadata: dicts of `name`, `datatype` and `shape`."""
        return _described(self.signature and self.signature.outputs)

    def overrides(self, method: str) -> bool:
        """Whether a method is the author's own."""
        function = getattr(getattr(self, method), "__func__", None)
        return function is not getattr(Model, method)


def _described(specs: Any) -> list[dict[str, Any]]:
    return [{"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in specs or ()]
