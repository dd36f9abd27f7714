"""Writing an ONNX graph by hand: nodes and weights as they are added."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import EncoderError, one_line

__all__ = ["Graph", "Value"]

OPSET = 20  # the first with Gelu
IR_VERSION = 10  # read by ONNX Runtime 1.18 and later

Value = tuple[str, int, list[Any]]  # name, type and shape of an input or output


class Graph:
    """Nodes and initializers as they are added, with names handed out in order."""

    def __init__(self, half: bool = False) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.half = half

    def add(self, op: str, *inputs: str, outputs: int = 1, name: str = "", **attributes: Any) -> str:
        """Adds a node and gives the name of its first output; others end in _1, _2."""
        from onnx import helper

        name = name or f"{op.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=name, **attributes))
        return name

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """Adds an initializer as it stands."""
        from onnx import numpy_helper

        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=dtype), name))
        return name

    def weight(self, value: npt.NDArray[np.float32]) -> str:
        """Adds float32 weights; small models store them in half the bytes, and ONNX Runtime widens them on load."""
        from onnx import TensorProto

        if not self.half:
            return self.constant(value, np.float32)
        return self.add("Cast", self.constant(value, np.float16), to=TensorProto.FLOAT)

    def linear(self, x: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None) -> str:
        """x @ weight.T + bias, with weight [out, in]."""
        product = self.add("MatMul", x, self.weight(weight.T))
        return product if bias is None else self.add("Add", product, self.weight(bias))

    def norm(
        self, x: str, scale: npt.NDArray[np.float32], shift: npt.NDArray[np.float32] | None, epsilon: float
    ) -> str:
        """Layer normalisation over the last axis."""
        weights = [self.weight(scale)] if shift is None else [self.weight(scale), self.weight(shift)]
        return self.add("LayerNormalization", x, *weights, axis=-1, epsilon=epsilon)

    def split(self, x: str, parts: int) -> list[str]:
        """Equal parts of the last axis."""
        self.add("Split", x, outputs=parts, axis=-1, num_outputs=parts)
        return list(self.nodes[-1].output)

    def activation(self, name: str, x: str) -> str:
        """x through "identity", "relu", "gelu", "gelu_tanh", "silu", "tanh", "sigmoid" or "softplus"; "log1p_" before one
        is log(1 + x) after it."""
        if name == "identity":
            return x
        if name.startswith("log1p_"):
            inner = self.activation(name.removeprefix("log1p_"), x)
            return self.add("Log", self.add("Add", inner, self.constant(1, np.float32)))
        if name == "gelu_tanh":
            return self.add("Gelu", x, approximate="tanh")
        if name == "silu":
            return self.add("Mul", x, self.add("Sigmoid", x))
        return self.add(name.capitalize(), x)  # Relu, Gelu, Tanh, Sigmoid, Softplus

    def model(self, inputs: list[Value], outputs: list[Value], dim: int) -> Any:
        """The finished onnx.ModelProto, checked. `dim` is noted in it, for the reader to compare with the tokenizer."""
        from onnx import checker, helper, shape_inference

        described = [[helper.make_tensor_value_info(*value) for value in values] for values in (inputs, outputs)]
        model = helper.make_model(
            helper.make_graph(self.nodes, "document_encoder", *described, self.initializers),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="lsr",
        )
        helper.set_model_props(model, {"dim": str(dim)})
        try:
            checker.check_model(model, full_check=True)
        except (
            checker.ValidationError,
            shape_inference.InferenceError,
        ) as error:  # of parts that do not fit each other
            raise EncoderError(f"the weights of the model do not fit each other ({one_line(error)[:300]})") from None
        return model
