"""Embeddings and vocabulary head of the document encoder's graph, in float32 or in 8-bit integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lsr.encoders.network.form import Network
from lsr.encoders.network.onnx_graph import Graph

__all__ = ["Calibration", "FloatHead", "IntegerHead", "VocabularyProduct"]

Array = npt.NDArray[np.float32]

# Weights are unsigned with 7 bits around 64, activations signed with 8 bits: x86 without VNNI adds two products in 16
# bits (vpmaddubsw), and 2 x 127 x 128 is within them, so that every machine computes the same. Unsigned on the left and
# signed on the right is the only pairing that ONNX Runtime has a fast kernel for (MatMulInteger, 1.32, x86).
WEIGHT_LEVELS = 63
WEIGHT_ZERO = 64
# One step of the activations, which have unit variance: of 1.5 million, 12 in a million lay beyond 6, and the error of
# the logits was smallest with it (.024, against .176 when neither mean nor variance are taken out).
ACTIVATION_STEP = np.float32(6.0 / 127)


@dataclass(frozen=True)
class Calibration:
    """Mean and standard deviation [E] of the head's input after normalisation, before its scale and shift."""

    center: Array
    spread: Array


class VocabularyProduct(Protocol):
    """What the two precisions have in common."""

    def embeddings(self, ids: str) -> str:
        """Word embeddings float32 [B, L, E] of ids [B, L]."""

    def pooled(self, hidden: str, real: str, chunk: int, summed: str | None) -> str:
        """Largest logit of each term: hidden [B, L, E], real [B, L] -> [B, V].

        With `summed`, an activation, the logits of each position go through it and are summed instead.
        """


class FloatHead:
    """Everything in float32."""

    def __init__(self, graph: Graph, network: Network) -> None:
        assert network.transform is not None
        self.graph, self.network, self.head = graph, network, network.transform
        self.table = graph.constant(self.head.decoder, np.float32)
        self.words = self.table if self.head.tied else graph.constant(network.words, np.float32)

    def embeddings(self, ids: str) -> str:
        return self.graph.add("Gather", self.words, ids)

    def pooled(self, hidden: str, real: str, chunk: int, summed: str | None) -> str:
        graph = self.graph
        x = _columns(graph, _filled(graph, graph.norm(hidden, *self.head.norm), real))

        def product(part: str) -> str:
            return graph.add("MatMul", part, x)

        if summed is None:
            largest = _pooled(graph, product, self.table, self.head.bias, real, chunk)
            return graph.add("Add", largest, graph.constant(self.head.bias, np.float32))
        pool = _Activated(graph, real, summed, np.ones_like(self.head.bias), self.head.bias).summed
        return _pooled(graph, product, self.table, self.head.bias, real, chunk, pool)


class IntegerHead:
    """Products in 8-bit integers, with one scale a term.

    Mean, spread and scale of each dimension of the head's input go into the weights and the bias, so that what is
    quantised has mean 0 and variance 1 in each. One fixed step then serves every text, and no text's vector depends on
    another's. Embeddings come from the same codes, divided by what went in, when the model ties them.
    """

    def __init__(self, graph: Graph, network: Network, calibration: Calibration) -> None:
        assert network.transform is not None
        self.graph, self.network, self.head = graph, network, network.transform
        weight = self.head.decoder
        gamma, beta, _ = self.head.norm
        wide = np.abs(gamma) * calibration.spread
        # A dimension with hardly any scale would lose its embedding; what is not folded stays in the normalisation.
        fold = np.maximum(wide, 0.1 * wide.mean()).astype(np.float32)  # [E]
        self.unfold = 1 / fold
        self.scale = gamma / fold
        self.shift = -calibration.center * self.scale
        constant = gamma * calibration.center
        self.bias = (self.head.bias + weight @ (constant if beta is None else beta + constant)).astype(np.float32)
        codes, self.steps = _quantize(weight * fold)
        self.table = graph.constant(codes)
        self.words, self.word_steps = self.table, self.steps
        if not self.head.tied:
            codes, self.word_steps = _quantize(network.words * fold)
            self.words = graph.constant(codes)

    def embeddings(self, ids: str) -> str:
        from onnx import TensorProto

        graph = self.graph
        codes = graph.add("Cast", graph.add("Gather", self.words, ids), to=TensorProto.FLOAT)
        codes = graph.add("Sub", codes, graph.constant(WEIGHT_ZERO, np.float32))
        steps = graph.add("Gather", graph.constant(self.word_steps[:, None], np.float32), ids)  # [B, L, 1]
        return graph.add("Mul", graph.add("Mul", codes, steps), graph.constant(self.unfold, np.float32))

    def pooled(self, hidden: str, real: str, chunk: int, summed: str | None) -> str:
        from onnx import TensorProto

        graph = self.graph
        scale, shift = graph.constant(self.scale, np.float32), graph.constant(self.shift, np.float32)
        x = graph.add("LayerNormalization", hidden, scale, shift, axis=-1, epsilon=self.head.norm.epsilon)
        # Filled before it is quantised: ONNX Runtime 1.20 chooses among floats, not among int8.
        x = graph.add(
            "QuantizeLinear", _filled(graph, x, real), graph.constant(ACTIVATION_STEP), graph.constant(0, np.int8)
        )
        x, zero = _columns(graph, x), graph.constant(WEIGHT_ZERO, np.uint8)

        def product(part: str) -> str:
            return graph.add("MatMulInteger", part, x, zero)

        steps = self.steps * ACTIVATION_STEP
        if summed is not None:
            pool = _Activated(graph, real, summed, steps, self.bias).summed
            return _pooled(graph, product, self.table, self.bias, real, chunk, pool)
        sums = _pooled(graph, product, self.table, self.bias, real, chunk)
        products = graph.add("Cast", sums, to=TensorProto.FLOAT)  # exact: E x 63 x 128 is below 2^24 up to E = 2,080
        logits = graph.add("Mul", products, graph.constant(steps, np.float32))
        return graph.add("Add", logits, graph.constant(self.bias, np.float32))


class _Activated:
    """Sum pooling of one slice: scaled, biased and activated at each position, then summed over the real ones."""

    def __init__(self, graph: Graph, real: str, activation: str, steps: Array, bias: Array) -> None:
        self.graph, self.activation, self.steps, self.bias = graph, activation, steps, bias
        self.real = graph.add("Cast", real, to=1)  # float32 [B, L]

    def summed(self, logits: str, start: int, stop: int) -> str:
        """Logits [C, B, L] of the terms from start to stop -> [C, B]."""
        graph = self.graph
        scale, bias = (graph.constant(x[start:stop, None, None], np.float32) for x in (self.steps, self.bias))
        x = graph.add("Mul", graph.add("Cast", logits, to=1), scale)
        x = graph.activation(self.activation, graph.add("Add", x, bias))
        return graph.add("ReduceSum", graph.add("Mul", x, self.real), graph.constant([2]), keepdims=0)


def _filled(graph: Graph, x: str, real: str) -> str:
    """x float32 [B, L, E] with a copy of the first position in place of those that are not real [B, L]."""
    first = graph.add("Slice", x, graph.constant([0]), graph.constant([1]), graph.constant([1]))
    return graph.add("Where", graph.add("Unsqueeze", real, graph.constant([-1])), x, first)


def _columns(graph: Graph, x: str) -> str:
    """x [B, L, E] as columns [E, B x L]."""
    hidden = graph.add("Slice", graph.add("Shape", x), graph.constant([2]), graph.constant([3]))
    flat = graph.add("Reshape", x, graph.add("Concat", graph.constant([-1], np.int64), hidden, axis=0))
    return graph.add("Transpose", flat, perm=[1, 0])


def _pooled(
    graph: Graph,
    product: Callable[[str], str],
    table: str,
    bias: Array,
    real: str,
    chunk: int,
    pool: Callable[[str, int, int], str] | None = None,
) -> str:
    """Largest product of each row of table [V, E] with the columns of each text: [E, B x L] -> [B, V]; real is [B, L].

    The table is on the left, so that a text's products with a term lie side by side: ONNX Runtime takes the maximum over
    the last axis with vector instructions, five times as fast as over an inner axis (1.32, x86). It cuts the table once,
    on load, so the file holds it once.
    """
    shape = graph.add("Concat", graph.constant([-1], np.int64), graph.add("Shape", real), axis=0)  # C, B, L
    axis, rows = graph.constant([2]), len(bias)
    maxima = []
    for start in range(0, rows, chunk):
        stop = min(start + chunk, rows)
        part = graph.add("Slice", table, graph.constant([start]), graph.constant([stop]), graph.constant([0]))  # [C, E]
        logits = graph.add("Reshape", product(part), shape)
        if pool is not None:
            maxima.append(pool(logits, start, stop))
        else:
            maxima.append(graph.add("ReduceMax", logits, axis, keepdims=0, name=f"pooled_{start}"))  # [C, B]
    return graph.add("Transpose", graph.add("Concat", *maxima, axis=0), perm=[1, 0])


def _quantize(table: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Codes uint8 [V, E] around WEIGHT_ZERO and a step float32 [V] a row: (codes - WEIGHT_ZERO) x step is near the table."""
    largest = np.abs(table).max(1)
    steps = (np.where(largest > 0, largest, 1) / WEIGHT_LEVELS).astype(np.float32)
    return (np.rint(table / steps[:, None]) + WEIGHT_ZERO).astype(np.uint8), steps
