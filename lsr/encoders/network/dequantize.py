"""Back from an ONNX export to the weights of a BERT: what lsr.encoders.network.graph folded together is taken apart.

Any network that the graph writes like a BERT becomes one, DistilBERT and RoBERTa too (whose positions then count from 0): it
gives the same logits. What does not come back:

- the token type, which is in the table of positions: that of the BERT is 0;
- of an 8-bit export what its codes, and float16 for all but the vocabulary, do not say;
- in 8 bits, how the vocabulary's bias and the shift of the normalisation before it were divided: both are in one number,
  with the mean of what the head sees (`IntegerHead`). Any division gives the same logits; here the normalisation takes the
  mean out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lsr.encoders.network.form import Array
from lsr.encoders.network.head import ACTIVATION_STEP, WEIGHT_ZERO
from lsr.errors import EncoderError, one_line

__all__ = ["Recovered", "weights_of_export"]


class Recovered(NamedTuple):
    """Weights float32 by the names that transformers gives those of a BertForMaskedLM, and the settings of its config.json.

    `pooling` is that of the vocabulary head: "max" or "cls".
    """

    weights: dict[str, Array]
    config: dict[str, Any]
    pooling: str


def weights_of_export(model: bytes) -> Recovered:
    """The weights in an ONNX file that lsr exported from a masked language model, in float32 or 8 bits.

    Raises `EncoderError` for any other file: the network must be as a BERT's, and its head have max or cls pooling.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return _Export(onnx.load_from_string(model)).recovered()
    except (_Other, DecodeError, KeyError, IndexError, ValueError, TypeError) as error:
        raise EncoderError(
            "no weights of a BERT can be recovered: it is no ONNX export of lsr with such a network and max or cls pooling "
            f"({one_line(error)[:200]})"
        ) from None


class _Other(Exception):
    """The graph is not as expected."""


class _Export:
    """A graph, followed from its output back to its input, node by node as lsr.encoders.network.graph writes them."""

    def __init__(self, proto: Any) -> None:
        self.tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.nodes = {name: node for node in proto.graph.node for name in node.output}
        self.read: set[str] = set()
        self.activations: set[str] = set()
        self.epsilons: set[float] = set()

    def recovered(self) -> Recovered:
        x, name, decoder, bias = self._head()
        x, scale, shift = self._norm(x)
        dense, bias_of_dense, x = self._linear(self._activation(x))
        pooling = "max"
        if self._op(x) == "Slice":
            pooling, x = "cls", self._node(x, "Slice").input[0]
        layers = []
        while not self._is_embeddings(x):
            layer, x = self._layer(x)
            layers.append(layer)
        self.read.discard(name)  # words and vocabulary may share their table
        embeddings, words_name, unfold = self._embeddings(x)
        head = "cls.predictions"
        weights = {f"bert.embeddings.{key}": value for key, value in embeddings.items()}
        for i, layer in enumerate(reversed(layers)):
            weights |= {f"bert.encoder.layer.{i}.{key}": value for key, value in layer.items()}
        weights |= {f"{head}.transform.dense.weight": dense, f"{head}.transform.dense.bias": bias_of_dense}
        weights[f"{head}.transform.LayerNorm.weight"] = scale / unfold
        weights[f"{head}.transform.LayerNorm.bias"] = shift / unfold
        weights[f"{head}.bias"] = bias
        if name != words_name:
            weights |= {f"{head}.decoder.weight": decoder * unfold, f"{head}.decoder.bias": bias}
        found = {key: np.ascontiguousarray(value, np.float32) for key, value in weights.items()}
        return Recovered(found, self._config(found, len(layers), name == words_name), pooling)

    def _config(self, weights: dict[str, Array], layers: int, tied: bool) -> dict[str, Any]:
        vocabulary, hidden = weights["bert.embeddings.word_embeddings.weight"].shape
        if len(self.activations) != 1 or len(self.epsilons) != 1 or not layers or hidden != self.heads * self.size:
            raise _Other("its layers are not alike")
        inner = len(weights["bert.encoder.layer.0.intermediate.dense.bias"])
        return {
            "architectures": ["BertForMaskedLM"],
            "model_type": "bert",
            "hidden_act": self.activations.pop(),
            "hidden_size": hidden,
            "intermediate_size": inner,
            "layer_norm_eps": float(f"{self.epsilons.pop():.6g}"),
            "max_position_embeddings": len(weights["bert.embeddings.position_embeddings.weight"]),
            "num_attention_heads": self.heads,
            "num_hidden_layers": layers,
            "tie_word_embeddings": tied,
            "type_vocab_size": 2,
            "vocab_size": vocabulary,
        }

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _head(self) -> tuple[str, str, Array, Array]:
        """What the vocabulary product reads, the name of its table and the table as it stands, and the bias."""
        total = self._node(self._node("logits", "Identity").input[0], "Add")
        pooled, steps = total.input[0], None
        if self._op(pooled) == "Mul":
            product = self._node(pooled, "Mul")
            pooled, steps = (
                self._node(product.input[0], "Cast").input[0],
                self._array(product.input[1]) / ACTIVATION_STEP,
            )
        first = self._node(self._node(pooled, "Transpose").input[0], "Concat").input[0]
        logits = self._node(self._node(first, "ReduceMax").input[0], "Reshape").input[0]
        product = self._node(logits, "MatMul" if steps is None else "MatMulInteger")
        name = self._node(product.input[0], "Slice").input[0]
        table = self._array(name)
        if steps is not None:
            table = (table - WEIGHT_ZERO) * steps[:, None]
        filled = self._node(self._node(product.input[1], "Transpose").input[0], "Reshape").input[0]
        if steps is not None:
            filled = self._node(filled, "QuantizeLinear").input[0]
        return self._node(filled, "Where").input[1], name, table, self._array(total.input[1])

    def _layer(self, x: str) -> tuple[dict[str, Array], str]:
        """The weights of the layer that gives x, and what it reads."""
        found: dict[str, Array] = {}

        def keep(name: str, weight: Array, bias: Array) -> None:
            found[f"{name}.weight"], found[f"{name}.bias"] = weight, bias

        x, *norm = self._norm(x)
        keep("output.LayerNorm", *norm)
        total = self._node(x, "Add")
        *linear, x = self._linear(total.input[0])
        keep("output.dense", *linear)
        *linear, x = self._linear(self._activation(x))
        keep("intermediate.dense", *linear)
        self._same(x, total.input[1])
        x, *norm = self._norm(x)
        keep("attention.output.LayerNorm", *norm)
        total = self._node(x, "Add")
        *linear, x = self._linear(total.input[0])
        keep("attention.output.dense", *linear)
        weight, bias, x = self._attention(x)
        self._same(x, total.input[1])
        for i, part in enumerate(("query", "key", "value")):
            rows = slice(i * len(weight) // 3, (i + 1) * len(weight) // 3)
            factor = np.float32(self.size**0.5) if part == "query" else np.float32(1)  # was in the query's weights
            keep(f"attention.self.{part}", weight[rows] * factor, bias[rows] * factor)
        return found, x

    def _attention(self, x: str) -> tuple[Array, Array, str]:
        """Query, key and value as one product, and what it reads."""
        context = self._node(self._node(self._node(x, "Reshape").input[0], "Transpose").input[0], "MatMul")
        scores = self._node(self._node(context.input[0], "Softmax").input[0], "Add")
        self._node(scores.input[1], "Unsqueeze")  # the mask alone: no relative positions
        product = self._node(scores.input[0], "MatMul")
        shaped = [
            self._node(self._node(y, "Transpose").input[0], "Reshape") for y in (*product.input, context.input[1])
        ]
        split = self._node(shaped[0].input[0], "Split")
        if [node.input[0] for node in shaped] != list(split.output):
            raise _Other("its attention is another")
        self.heads, self.size = (int(number) for number in self._array(shaped[0].input[1])[2:])
        weight, bias, x = self._linear(split.input[0])
        if weight.shape != (3 * self.heads * self.size, self.heads * self.size):
            raise _Other("its attention has another shape")
        return weight, bias, x

    def _is_embeddings(self, x: str) -> bool:
        return self._op(self._node(self._node(x, "LayerNormalization").input[0], "Add").input[1]) == "Slice"

    def _embeddings(self, x: str) -> tuple[dict[str, Array], str, Array]:
        """The embeddings, the name of the table of words, and what its columns were divided by."""
        x, scale, shift = self._norm(x)
        total = self._node(x, "Add")
        places = self._array(self._node(total.input[1], "Slice").input[0])
        x, steps, unfold = total.input[0], None, np.ones(places.shape[1], np.float32)
        if self._op(x) == "Mul":
            outer = self._node(x, "Mul")
            inner = self._node(outer.input[0], "Mul")
            unfold, steps = self._array(outer.input[1]), self._array(self._node(inner.input[1], "Gather").input[0])
            x = self._node(self._node(inner.input[0], "Sub").input[0], "Cast").input[0]
        name = self._node(x, "Gather").input[0]
        words = self._array(name)
        if steps is not None:
            words = (words - WEIGHT_ZERO) * steps * unfold
        found = {
            "word_embeddings.weight": words,
            "position_embeddings.weight": places,
            "token_type_embeddings.weight": np.zeros((2, places.shape[1]), np.float32),
            "LayerNorm.weight": scale,
            "LayerNorm.bias": shift,
        }
        return found, name, unfold

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _op(self, name: str) -> str:
        return str(self.nodes[name].op_type) if name in self.nodes else ""

    def _node(self, name: str, op: str) -> Any:
        """What made a value, which must be of that kind."""
        if self._op(name) != op:
            raise _Other(f"{name} is no {op}")
        return self.nodes[name]

    def _array(self, name: str) -> Array:
        """An initializer, float32, read once; in an 8-bit export one of float16 that is widened first."""
        from onnx import TensorProto, numpy_helper

        tensor = self.tensors[self._node(name, "Cast").input[0] if name in self.nodes else name]
        if tensor.name in self.read:  # a graph that goes in circles, or repeats a layer without end
            raise _Other(f"{tensor.name} is in two places")
        self.read.add(tensor.name)
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise _Other("its weights are in other files")
        found: Array = numpy_helper.to_array(tensor).astype(np.float32)
        return found

    def _norm(self, x: str) -> tuple[str, Array, Array]:
        """What a normalisation reads, its scale and shift."""
        node = self._node(x, "LayerNormalization")
        self.epsilons |= {attribute.f for attribute in node.attribute if attribute.name == "epsilon"}
        return node.input[0], self._array(node.input[1]), self._array(node.input[2])

    def _linear(self, x: str) -> tuple[Array, Array, str]:
        """Weight [out, in] and bias of a linear layer, and what it reads."""
        total = self._node(x, "Add")
        product = self._node(total.input[0], "MatMul")
        return self._array(product.input[1]).T, self._array(total.input[1]), product.input[0]

    def _activation(self, x: str) -> str:
        """What an activation reads."""
        op = self._op(x)
        node = self._node(x, op)
        if op == "Gelu":
            kinds = {attribute.s for attribute in node.attribute if attribute.name == "approximate"}
            self.activations.add("gelu_pytorch_tanh" if kinds == {b"tanh"} else "gelu")
        elif op == "Relu":
            self.activations.add("relu")
        elif op == "Mul":
            self._same(self._node(node.input[1], "Sigmoid").input[0], node.input[0])
            self.activations.add("silu")
        else:
            raise _Other(f"{x} is no activation")
        return str(node.input[0])

    def _same(self, a: str, b: str) -> None:
        if a != b:
            raise _Other(f"{a} stands where {b} should")
