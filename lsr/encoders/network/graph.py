"""The document encoder as an ONNX graph: a transformer and its head, written by hand.

    input_ids int64 [B, L] ─┬─ embeddings ─ layers ─┬─ MLM transform ─ vocabulary head ─ logits  float32 [B, V]
    lengths   int64 [B] ────┘                       ├─ token head ──────────────────── weights float32 [B, L]
                                                    ├─ pooling ─ sparse autoencoder ── latents float32 [B, D]
                                                    └─ vector head ─────────────────── vectors float32 [B, L, D]

    vocabulary head, for each slice of the vocabulary:  logits [C, B, L] ─ max over L ─ [C, B]

The vocabulary head (lsr.encoders.network.head) is most of the work, so it decides the form:

- the raw logits are pooled and the activation log(1 + relu(x)) comes after: it never falls, so the maximum is the same
  (SPLADE-max, Formal et al. 2021), and it runs over the terms found instead of L x V logits (lsr.encoders.rows);
- the bias does not depend on the position, so it is added after the maximum too;
- padded positions hold a copy of the first position, so that the maximum needs no mask;
- the vocabulary is cut into slices whose logits stay in the cache: [B, L, V] never exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lsr.encoders.model import (
    AutoencoderHead,
    DenseLayer,
    Head,
    ResidualLayer,
    TokenHead,
    VectorHead,
    VocabularyHead,
)
from lsr.encoders.network.form import Layer, Network, Rotary, UnsupportedNetwork
from lsr.encoders.network.head import Calibration, FloatHead, IntegerHead, VocabularyProduct
from lsr.encoders.network.onnx_graph import Graph, Value

__all__ = ["build_graph", "build_probe", "build_vector_graph", "check_head", "with_positions"]

FAR = np.float32(-1e9)  # added to attention scores of padded positions: exp gives exactly 0


def build_graph(network: Network, head: Head, *, calibration: Calibration | None = None, chunk: int = 512) -> Any:
    """The document encoder as an onnx.ModelProto, with inputs and outputs as in the module's head.

    With a `calibration` the vocabulary head is 8-bit, without one everything is float32. `chunk` is the number of terms in
    a slice. Raises `UnsupportedNetwork` for a head that has no graph.
    """
    from onnx import TensorProto

    check_head(head, network.family)
    graph = Graph(half=calibration is not None)
    real = _real_positions(graph)  # bool [B, L]
    if isinstance(head, VocabularyHead):
        assert network.transform is not None
        product: VocabularyProduct = (
            FloatHead(graph, network) if calibration is None else IntegerHead(graph, network, calibration)
        )
        hidden = _body(graph, network, product.embeddings("input_ids"), real)
        if head.pooling == "cls":
            hidden, real = (_first_position(graph, x) for x in (hidden, real))
        hidden = _transform(graph, network, hidden)
        summed = head.activation if head.pooling == "sum" else None
        name, shape, dim = "logits", ["B", network.vocabulary], network.vocabulary
        result = product.pooled(hidden, real, chunk, summed)
    else:
        words = graph.add("Gather", graph.weight(network.words), "input_ids")
        hidden = _body(graph, network, words, real)
        if isinstance(head, TokenHead):
            name, shape, dim = "weights", ["B", "L"], network.vocabulary
            result = _token_weights(graph, head, hidden)
        else:
            name, shape, dim = "latents", ["B", len(head.weight)], len(head.weight)
            result = _latents(graph, head, hidden, real)
    graph.add("Identity", result, name=name)
    return graph.model(_inputs(), [(name, TensorProto.FLOAT, shape)], dim)


def build_vector_graph(network: Network, head: VectorHead) -> Any:
    """An onnx.ModelProto that gives a vector a position, float32 [B, L, dim].

    `lengths` counts the positions that are seen; those after them see, but are not seen.
    """
    from onnx import TensorProto

    graph = Graph()
    words = graph.add("Gather", graph.weight(network.words), "input_ids")
    hidden = _body(graph, network, words, _real_positions(graph), unseen=True)
    vectors = _through(graph, head.layers, hidden)
    graph.add("Identity", _unit(graph, vectors) if head.unit else vectors, name="vectors")
    return graph.model(_inputs(), [("vectors", TensorProto.FLOAT, ["B", "L", head.dim])], head.dim)


def check_head(head: Head, where: object) -> None:
    """Raises `UnsupportedNetwork`, which names `where` the model is, for a head that has no graph."""
    if isinstance(head, VocabularyHead) and (head.importance or head.quality):
        raise UnsupportedNetwork(f"{where}: a head with term importance or document quality (EPIC) has no ONNX graph")


def build_probe(network: Network) -> Any:
    """An onnx.ModelProto that gives what the vocabulary head sees: z float32 [B, L, E], mean 0 and variance 1 a position."""
    from onnx import TensorProto

    assert network.transform is not None
    graph = Graph()
    words = graph.add("Gather", graph.weight(network.words), "input_ids")
    hidden = _transform(graph, network, _body(graph, network, words, _real_positions(graph)))
    size = network.words.shape[1]
    one = np.ones(size, np.float32)
    graph.add("Identity", graph.norm(hidden, one, 0 * one, network.transform.norm.epsilon), name="z")
    return graph.model(_inputs(), [("z", TensorProto.FLOAT, ["B", "L", size])], network.vocabulary)


def with_positions(model: bytes) -> bytes:
    """The same model with a second output, positions int64 [B, V]: where each term has its largest logit, first of equals.

    Only for looking inside: it keeps every slice's logits for a second pass.
    """
    import onnx
    from onnx import TensorProto, helper

    proto = onnx.load_from_string(model)
    nodes = proto.graph.node
    maxima = [node for node in nodes if node.op_type == "ReduceMax" and node.name.startswith("pooled_")]
    names = []
    for node in maxima:
        names.append(f"{node.name}_position")
        nodes.append(helper.make_node("ArgMax", [node.input[0]], [names[-1]], axis=2, keepdims=0))
    nodes.append(helper.make_node("Concat", names, ["positions_by_term"], axis=0))
    nodes.append(helper.make_node("Transpose", ["positions_by_term"], ["positions"], perm=[1, 0]))
    proto.graph.output.append(helper.make_tensor_value_info("positions", TensorProto.INT64, ["B", "V"]))
    return bytes(proto.SerializeToString())


def _inputs() -> list[Value]:
    from onnx import TensorProto

    return [("input_ids", TensorProto.INT64, ["B", "L"]), ("lengths", TensorProto.INT64, ["B"])]


def _real_positions(graph: Graph) -> str:
    """bool [B, L]: position < length."""
    width = graph.add("Gather", graph.add("Shape", "input_ids"), graph.constant(1, np.int64))
    positions = graph.add("Range", graph.constant(0, np.int64), width, graph.constant(1, np.int64))
    return graph.add("Less", positions, graph.add("Unsqueeze", "lengths", graph.constant([1])))


def _body(graph: Graph, network: Network, words: str, real: str, *, unseen: bool = False) -> str:
    """Embeddings of words [B, L, E] plus positions, then the transformer layers; [B, L, H].

    unseen: whether what positions that are not real give is of use too. Where no real position lies within the window of
    local attention, attention then gives 0, as torch does; otherwise it gives a mean of padding that nobody reads.
    """
    width = graph.add("Slice", graph.add("Shape", "input_ids"), graph.constant([1]), graph.constant([2]))
    if network.places is not None:
        table = graph.add("Slice", graph.weight(network.places), graph.constant([0]), width, graph.constant([0]))
        words = graph.add("Add", words, table)
    hidden = graph.norm(words, *network.embedding_norm)
    if network.projection is not None:
        hidden = graph.linear(hidden, *network.projection)
    gap = graph.add("Where", real, graph.constant(0, np.float32), graph.constant(FAR))
    mask = graph.add("Unsqueeze", gap, graph.constant([1, 2]))  # [B, 1, 1, L]
    if network.relative is not None:
        both = graph.add("Concat", width, width, axis=0)
        near = graph.add("Slice", graph.weight(network.relative), graph.constant([0, 0]), both, graph.constant([1, 2]))
        mask = graph.add("Add", mask, near)
    masks: dict[int | None, str] = {None: mask}
    sighted: dict[int | None, str] = {}
    turns: dict[float, tuple[str, str]] = {}
    for layer in network.layers:
        rotary = layer.rotary
        if rotary is not None and rotary.theta not in turns:
            turns[rotary.theta] = _turns(graph, network, rotary, width)
        if rotary is not None and rotary.window not in masks:
            masks[rotary.window] = graph.add("Add", mask, _window(graph, rotary.window or 0, width))
            if unseen:
                sighted[rotary.window] = _sighted(graph, masks[rotary.window])
        turn = None if rotary is None else turns[rotary.theta]
        window = None if rotary is None else rotary.window
        hidden = _layer(graph, network, layer, hidden, masks[window], turn, sighted.get(window))
    return hidden if network.last_norm is None else graph.norm(hidden, *network.last_norm)


def _sighted(graph: Graph, mask: str) -> str:
    """float32 [B, 1, L, 1]: 1 where a position sees some position by a mask [B, 1, L, L], 0 where it sees none."""
    nearest = graph.add("ReduceMax", mask, graph.constant([-1]), keepdims=1)
    return graph.add("Cast", graph.add("Greater", nearest, graph.constant(FAR / 2, np.float32)), to=1)


def _layer(
    graph: Graph, network: Network, layer: Layer, x: str, mask: str, turn: tuple[str, str] | None, sighted: str | None
) -> str:
    """One layer [B, L, H] -> [B, L, H]."""
    into = graph.norm(x, *layer.norm) if layer.before and layer.norm is not None else x
    x = graph.add("Add", graph.linear(_attention(graph, network, layer, into, mask, turn, sighted), *layer.out), x)
    if not layer.before:
        assert layer.norm is not None
        x = graph.norm(x, *layer.norm)
    into = graph.norm(x, *layer.last_norm) if layer.before else x
    inner = graph.linear(into, *layer.up)
    if layer.gated:
        inner, gate = graph.split(inner, 2)
        inner = graph.add("Mul", graph.activation(layer.activation, inner), gate)
    else:
        inner = graph.activation(layer.activation, inner)
    x = graph.add("Add", graph.linear(inner, *layer.down), x)
    return x if layer.before else graph.norm(x, *layer.last_norm)


def _attention(
    graph: Graph,
    network: Network,
    layer: Layer,
    hidden: str,
    mask: str,
    turn: tuple[str, str] | None,
    sighted: str | None,
) -> str:
    """Self-attention [B, L, H] -> [B, L, H]; query, key and value as one product, the scale inside the query's weights."""
    size = network.hidden // network.heads
    scale = np.ones((3 * network.hidden, 1), np.float32)
    scale[: network.hidden] = np.float32(size**-0.5)
    weight, bias = layer.joined
    joined = graph.linear(hidden, weight * scale, None if bias is None else bias * scale[:, 0])  # [B, L, 3H]
    shape = graph.constant([0, 0, network.heads, size], np.int64)
    parts = [graph.add("Reshape", part, shape) for part in graph.split(joined, 3)]
    if turn is not None:
        parts[:2] = [_turned(graph, part, turn) for part in parts[:2]]
    q = graph.add("Transpose", parts[0], perm=[0, 2, 1, 3])  # [B, heads, L, size]
    k = graph.add("Transpose", parts[1], perm=[0, 2, 3, 1])  # [B, heads, size, L]
    v = graph.add("Transpose", parts[2], perm=[0, 2, 1, 3])
    scores = graph.add("Softmax", graph.add("Add", graph.add("MatMul", q, k), mask), axis=-1)
    context = graph.add("MatMul", scores, v)
    if sighted is not None:
        context = graph.add("Mul", context, sighted)
    context = graph.add("Transpose", context, perm=[0, 2, 1, 3])
    return graph.add("Reshape", context, graph.constant([0, 0, network.hidden], np.int64))


def _turns(graph: Graph, network: Network, rotary: Rotary, width: str) -> tuple[str, str]:
    """Cosine and sine [L, 1, size] of the rotary positions."""
    size = network.hidden // network.heads
    # In float32 as torch does: an angle of thousands of radians keeps few digits, and must lose the same ones.
    exponents = np.arange(0, size, 2).astype(np.float32) / np.float32(size)
    frequencies = (np.float32(1) / (np.float32(rotary.theta) ** exponents)).astype(np.float32)
    angles = np.arange(network.positions, dtype=np.float32)[:, None] * frequencies
    angles = np.concatenate([angles, angles], axis=1)[:, None, :]
    start, axis = graph.constant([0]), graph.constant([0])
    cosine, sine = (
        graph.add("Slice", graph.constant(f(angles), np.float32), start, width, axis) for f in (np.cos, np.sin)
    )
    return cosine, sine


def _turned(graph: Graph, x: str, turn: tuple[str, str]) -> str:
    """x [B, L, heads, size] turned by its position."""
    low, high = graph.split(x, 2)
    half = graph.add("Concat", graph.add("Neg", high), low, axis=-1)
    return graph.add("Add", graph.add("Mul", x, turn[0]), graph.add("Mul", half, turn[1]))


def _window(graph: Graph, window: int, width: str) -> str:
    """float32 [L, L]: FAR where two positions are farther apart than the window."""
    length = graph.add("Squeeze", width)
    places = graph.add("Range", graph.constant(0, np.int64), length, graph.constant(1, np.int64))
    apart = graph.add("Sub", graph.add("Unsqueeze", places, graph.constant([1])), places)
    outside = graph.add("Greater", graph.add("Abs", apart), graph.constant(window, np.int64))
    return graph.add("Where", outside, graph.constant(FAR), graph.constant(0, np.float32))


def _transform(graph: Graph, network: Network, hidden: str) -> str:
    """The masked-language-model head before its normalisation; [B, L, E]."""
    assert network.transform is not None
    return graph.activation(network.transform.activation, graph.linear(hidden, *network.transform.dense))


def _first_position(graph: Graph, x: str) -> str:
    """x [B, L, ...] -> [B, 1, ...]."""
    return graph.add("Slice", x, graph.constant([0]), graph.constant([1]), graph.constant([1]))


def _token_weights(graph: Graph, head: TokenHead, hidden: str) -> str:
    """One weight a position [B, L]."""
    weights = graph.add("Squeeze", _through(graph, head.layers, hidden), graph.constant([2]))
    return graph.activation("log1p_relu", weights) if head.log1p else weights


def _latents(graph: Graph, head: AutoencoderHead, hidden: str, real: str) -> str:
    """Every latent before its activation [B, D]."""
    mask = graph.add("Unsqueeze", real, graph.constant([-1]))
    zero, axis = graph.constant(0, np.float32), graph.constant([1])
    if head.pooling == "cls":
        x = graph.add("Gather", hidden, graph.constant(0, np.int64), axis=1)
    elif head.pooling == "max":
        x = graph.add("ReduceMax", graph.add("Where", mask, hidden, graph.constant(FAR)), axis, keepdims=0)
    else:
        total = graph.add("ReduceSum", graph.add("Where", mask, hidden, zero), axis, keepdims=0)
        count = graph.add("Cast", graph.add("Unsqueeze", "lengths", axis), to=1)
        x = graph.add("Div", total, count)
    if head.unit:
        x = _unit(graph, x)
    x = _through(graph, head.before, x)
    if head.unit_after:
        x = _unit(graph, x)
    if head.normalize:  # torch's deviation divides by n - 1
        x = graph.add("Sub", x, graph.add("ReduceMean", x, axis, keepdims=1))
        squares = graph.add("ReduceSum", graph.add("Mul", x, x), axis, keepdims=1)
        freedom = graph.constant(head.weight.shape[1] - 1, np.float32)
        deviation = graph.add("Sqrt", graph.add("Div", squares, freedom))
        x = graph.add("Div", x, graph.add("Add", deviation, graph.constant(1e-5, np.float32)))
    x = graph.add("Sub", x, graph.weight(head.pre_bias))
    return graph.linear(x, head.weight, head.latent_bias)


def _through(graph: Graph, layers: Sequence[DenseLayer], x: str) -> str:
    """x [..., in] through dense layers."""
    for layer in layers:
        y = graph.activation(layer.activation, graph.linear(x, layer.weight, layer.bias))
        if isinstance(layer, ResidualLayer):
            y = graph.add("Add", y, graph.linear(x, layer.residual, None))
        x = y
    return x


def _unit(graph: Graph, x: str) -> str:
    """x [..., D] divided by its norm."""
    norm = graph.add("ReduceL2", x, graph.constant([-1]), keepdims=1)
    return graph.add("Div", x, graph.add("Max", norm, graph.constant(1e-12, np.float32)))
