"""The document encoder as an ONNX graph: BERT, its vocabulary head, max pooling and top terms, written by hand.

    input_ids int64 [B, L] ─┬─ embeddings ─ layers ─ MLM transform ─┐
    lengths   int64 [B] ────┘                                       │
                    for each slice of the vocabulary:  logits [C, B, L] ─ max over L ─ [C, B]
    top_terms int64 [1] ─────────────────── [B, V] + bias ─ TopK ─ activation ─ terms, weights [B, K]

The vocabulary head (lsr.encoders.head) is most of the work, so it decides the form:

- the raw logits are pooled and the activation log(1 + relu(x)) comes after: it never falls, so the maximum is the same
  (SPLADE-max, Formal et al. 2021), and it runs over K terms instead of L x V logits;
- the bias does not depend on the position, so it is added after the maximum too;
- padded positions hold a copy of the first position, so that the maximum needs no mask;
- the vocabulary is cut into slices whose logits stay in the cache: [B, L, V] never exists;
- special tokens get a bias that no logit reaches.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.checkpoint import BertCheckpoint
from lsr.encoders.head import Calibration, FloatHead, Head, IntegerHead
from lsr.encoders.onnx_graph import Graph, Value

__all__ = ["ACTIVATIONS", "build_graph", "build_probe"]

ACTIVATIONS = ("log1p_relu", "log1p_log1p_relu", "relu")

NEVER = np.float32(-1e30)  # bias of terms that must not appear; finite, so that no NaN can come of it
FAR = np.float32(-1e9)  # added to attention scores of padded positions: exp gives exactly 0


def build_graph(
    checkpoint: BertCheckpoint,
    special_ids: npt.NDArray[np.int64],
    *,
    activation: str = "log1p_relu",
    calibration: Calibration | None = None,
    chunk: int = 512,
) -> Any:
    """The document encoder as an onnx.ModelProto, with inputs and outputs as in the module's head.

    `special_ids` are the terms that never leave the graph. With a `calibration` the vocabulary head is 8-bit, without
    one everything is float32. `chunk` is the number of terms in a slice.
    """
    from onnx import TensorProto

    graph = Graph(half=calibration is not None)
    head: Head = FloatHead(graph, checkpoint) if calibration is None else IntegerHead(graph, checkpoint, calibration)
    real = _real_positions(graph)  # bool [B, L]
    hidden = _transform(graph, checkpoint, _layers(graph, checkpoint, head.embeddings("input_ids"), real))
    pooled = head.pooled(hidden, graph.add("Unsqueeze", real, graph.constant([-1])), chunk)

    bias = head.bias.astype(np.float32)
    bias[special_ids] = NEVER
    logits = graph.add("Add", pooled, graph.constant(bias))  # [B, V]
    top = graph.add("TopK", logits, "top_terms", outputs=2, axis=-1, largest=1, sorted=0)
    weights = graph.add("Relu", top)
    for _ in range(activation.count("log1p")):
        weights = graph.add("Log", graph.add("Add", weights, graph.constant(1, np.float32)))
    graph.add("Identity", f"{top}_1", name="terms")
    graph.add("Identity", weights, name="weights")
    int64, float32 = TensorProto.INT64, TensorProto.FLOAT
    inputs: list[Value] = [("input_ids", int64, ["B", "L"]), ("lengths", int64, ["B"]), ("top_terms", int64, [1])]
    return graph.model(inputs, [("terms", int64, ["B", "K"]), ("weights", float32, ["B", "K"])], checkpoint.vocabulary)


def build_probe(checkpoint: BertCheckpoint) -> Any:
    """An onnx.ModelProto that gives what the vocabulary head sees: z float32 [B, L, H], mean 0 and variance 1 a position."""
    from onnx import TensorProto

    graph = Graph()
    words = FloatHead(graph, checkpoint).embeddings("input_ids")
    hidden = _transform(graph, checkpoint, _layers(graph, checkpoint, words, _real_positions(graph)))
    one = np.ones(checkpoint.hidden, np.float32)
    graph.add("Identity", graph.norm(hidden, one, 0 * one, checkpoint.epsilon), name="z")
    inputs: list[Value] = [("input_ids", TensorProto.INT64, ["B", "L"]), ("lengths", TensorProto.INT64, ["B"])]
    return graph.model(inputs, [("z", TensorProto.FLOAT, ["B", "L", checkpoint.hidden])], checkpoint.vocabulary)


def _real_positions(graph: Graph) -> str:
    """bool [B, L]: position < length."""
    shape = graph.add("Shape", "input_ids")
    width = graph.add("Gather", shape, graph.constant(1, np.int64))
    positions = graph.add("Range", graph.constant(0, np.int64), width, graph.constant(1, np.int64))
    return graph.add("Less", positions, graph.add("Unsqueeze", "lengths", graph.constant([1])))


def _layers(graph: Graph, model: BertCheckpoint, words: str, real: str) -> str:
    """Embeddings of words [B, L, H] plus positions, then the transformer layers; [B, L, H]."""
    places = model.tensor("bert.embeddings.position_embeddings.weight")
    kind = model.tensor("bert.embeddings.token_type_embeddings.weight")[0]  # a document is one segment
    width = graph.add("Slice", graph.add("Shape", "input_ids"), graph.constant([1]), graph.constant([2]))
    table = graph.add("Slice", graph.weight(places + kind), graph.constant([0]), width, graph.constant([0]))
    hidden = graph.norm(graph.add("Add", words, table), *model.norm("bert.embeddings.LayerNorm"), model.epsilon)

    gap = graph.add("Where", real, graph.constant(0, np.float32), graph.constant(FAR))
    mask = graph.add("Unsqueeze", gap, graph.constant([1, 2]))  # [B, 1, 1, L]
    for i in range(model.layers):
        name = f"bert.encoder.layer.{i}"
        context = graph.linear(
            _attention(graph, model, f"{name}.attention.self", hidden, mask),
            *model.linear(f"{name}.attention.output.dense"),
        )
        hidden = graph.norm(
            graph.add("Add", context, hidden), *model.norm(f"{name}.attention.output.LayerNorm"), model.epsilon
        )
        inner = graph.add("Gelu", graph.linear(hidden, *model.linear(f"{name}.intermediate.dense")))
        outer = graph.linear(inner, *model.linear(f"{name}.output.dense"))
        hidden = graph.norm(graph.add("Add", outer, hidden), *model.norm(f"{name}.output.LayerNorm"), model.epsilon)
    return hidden


def _attention(graph: Graph, model: BertCheckpoint, name: str, hidden: str, mask: str) -> str:
    """Self-attention [B, L, H] -> [B, L, H]; query, key and value as one product, the scale inside the query's weights."""
    size = model.hidden // model.heads
    scale = np.float32(size**-0.5)
    query, key, value = (model.linear(f"{name}.{part}") for part in ("query", "key", "value"))
    weight = np.concatenate([query[0] * scale, key[0], value[0]])
    joined = graph.linear(hidden, weight, np.concatenate([query[1] * scale, key[1], value[1]]))  # [B, L, 3H]
    graph.add("Split", joined, outputs=3, axis=-1, num_outputs=3)
    split = graph.nodes[-1].output
    shape = graph.constant([0, 0, model.heads, size], np.int64)
    parts = [graph.add("Reshape", part, shape) for part in split]
    q = graph.add("Transpose", parts[0], perm=[0, 2, 1, 3])  # [B, heads, L, size]
    k = graph.add("Transpose", parts[1], perm=[0, 2, 3, 1])  # [B, heads, size, L]
    v = graph.add("Transpose", parts[2], perm=[0, 2, 1, 3])
    scores = graph.add("Softmax", graph.add("Add", graph.add("MatMul", q, k), mask), axis=-1)
    context = graph.add("Transpose", graph.add("MatMul", scores, v), perm=[0, 2, 1, 3])
    return graph.add("Reshape", context, graph.constant([0, 0, model.hidden], np.int64))


def _transform(graph: Graph, model: BertCheckpoint, hidden: str) -> str:
    """The masked-language-model head before its normalisation; [B, L, H]."""
    return graph.add("Gelu", graph.linear(hidden, *model.linear("cls.predictions.transform.dense")))
