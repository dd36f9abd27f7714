"""Embeddings and vocabulary head of the document encoder's graph, in float32 or in 8-bit integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lsr.encoders.checkpoint import BertCheckpoint
from lsr.encoders.onnx_graph import Graph

__all__ = ["Calibration", "FloatHead", "Head", "IntegerHead"]

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
    """Mean and standard deviation [hidden] of the head's input after normalisation, before its scale and shift."""

    center: Array
    spread: Array


class Head(Protocol):
    """What the two precisions have in common. `bias` [vocabulary] is added to what `pooled` gives."""

    bias: Array

    def embeddings(self, ids: str) -> str:
        """Word embeddings float32 [B, L, H] of ids [B, L]."""

    def pooled(self, hidden: str, real: str, chunk: int) -> str:
        """Largest logit of each term without its bias: hidden [B, L, H], real [B, L, 1] -> [B, V]."""


class FloatHead:
    """Everything in float32."""

    def __init__(self, graph: Graph, model: BertCheckpoint) -> None:
        self.graph, self.model = graph, model
        weight, bias = model.decoder()
        self.bias = bias.copy()
        words = model.tensor("bert.embeddings.word_embeddings.weight")
        self.table = graph.constant(weight, np.float32)
        self.words = self.table if weight is words else graph.constant(words, np.float32)

    def embeddings(self, ids: str) -> str:
        return self.graph.add("Gather", self.words, ids)

    def pooled(self, hidden: str, real: str, chunk: int) -> str:
        graph, model = self.graph, self.model
        x = graph.norm(hidden, *model.norm("cls.predictions.transform.LayerNorm"), model.epsilon)
        return _pooled(graph, "MatMul", self.table, _columns(graph, x, real), (), model.vocabulary, chunk)


class IntegerHead:
    """Products in 8-bit integers, with one scale a term.

    Mean, spread and scale of each dimension of the head's input go into the weights and the bias, so that what is
    quantised has mean 0 and variance 1 in each. One fixed step then serves every text, and no text's vector depends on
    another's. Embeddings come from the same codes, divided by what went in, when the model ties them.
    """

    def __init__(self, graph: Graph, model: BertCheckpoint, calibration: Calibration) -> None:
        self.graph, self.model = graph, model
        weight, bias = model.decoder()
        gamma, beta = model.norm("cls.predictions.transform.LayerNorm")
        wide = np.abs(gamma) * calibration.spread
        # A dimension with hardly any scale would lose its embedding; what is not folded stays in the normalisation.
        fold = np.maximum(wide, 0.1 * wide.mean()).astype(np.float32)  # [H]
        self.unfold = 1 / fold
        self.scale = gamma / fold
        self.shift = -calibration.center * self.scale
        self.bias = bias + weight @ (beta + gamma * calibration.center)
        codes, self.steps = _quantize(weight * fold)
        self.table = graph.constant(codes)
        words = model.tensor("bert.embeddings.word_embeddings.weight")
        self.words, self.word_steps = self.table, self.steps
        if weight is not words:
            codes, self.word_steps = _quantize(words * fold)
            self.words = graph.constant(codes)

    def embeddings(self, ids: str) -> str:
        from onnx import TensorProto

        graph = self.graph
        codes = graph.add("Cast", graph.add("Gather", self.words, ids), to=TensorProto.FLOAT)
        codes = graph.add("Sub", codes, graph.constant(WEIGHT_ZERO, np.float32))
        steps = graph.add("Gather", graph.constant(self.word_steps[:, None], np.float32), ids)  # [B, L, 1]
        return graph.add("Mul", graph.add("Mul", codes, steps), graph.constant(self.unfold, np.float32))

    def pooled(self, hidden: str, real: str, chunk: int) -> str:
        from onnx import TensorProto

        graph, model = self.graph, self.model
        scale, shift = graph.constant(self.scale, np.float32), graph.constant(self.shift, np.float32)
        x = graph.add("LayerNormalization", hidden, scale, shift, axis=-1, epsilon=model.epsilon)
        x = graph.add("QuantizeLinear", x, graph.constant(ACTIVATION_STEP), graph.constant(0, np.int8))
        zero = (graph.constant(WEIGHT_ZERO, np.uint8),)
        sums = _pooled(graph, "MatMulInteger", self.table, _columns(graph, x, real), zero, model.vocabulary, chunk)
        products = graph.add("Cast", sums, to=TensorProto.FLOAT)  # exact: H x 63 x 128 is below 2^24
        return graph.add("Mul", products, graph.constant(self.steps * ACTIVATION_STEP, np.float32))


def _columns(graph: Graph, x: str, real: str) -> str:
    """x [B, L, H] as columns [H, B x L], with a copy of the first position in place of the padded ones."""
    first = graph.add("Slice", x, graph.constant([0]), graph.constant([1]), graph.constant([1]))
    filled = graph.add("Where", real, x, first)
    hidden = graph.add("Slice", graph.add("Shape", x), graph.constant([2]), graph.constant([3]))
    flat = graph.add("Reshape", filled, graph.add("Concat", graph.constant([-1], np.int64), hidden, axis=0))
    return graph.add("Transpose", flat, perm=[1, 0])


def _pooled(graph: Graph, op: str, table: str, columns: str, zero_point: tuple[str, ...], rows: int, chunk: int) -> str:
    """Largest product of each row of table [V, H] with the columns of each text: [H, B x L] -> [B, V].

    The table is on the left, so that a text's products with a term lie side by side: ONNX Runtime takes the maximum over
    the last axis with vector instructions, five times as fast as over an inner axis (1.32, x86). It cuts the table once,
    on load, so the file holds it once.
    """
    shape = graph.add("Concat", graph.constant([-1], np.int64), graph.add("Shape", "input_ids"), axis=0)  # C, B, L
    axis = graph.constant([2])
    maxima = []
    for start in range(0, rows, chunk):
        ends = graph.constant([start]), graph.constant([min(start + chunk, rows)])
        part = graph.add("Slice", table, *ends, graph.constant([0]))  # [C, H]
        product = graph.add("Reshape", graph.add(op, part, columns, *zero_point), shape)
        maxima.append(graph.add("ReduceMax", product, axis, keepdims=0))  # [C, B]
    return graph.add("Transpose", graph.add("Concat", *maxima, axis=0), perm=[1, 0])


def _quantize(table: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Codes uint8 [V, H] around WEIGHT_ZERO and a step float32 [V] a row: (codes - WEIGHT_ZERO) x step is near the table."""
    largest = np.abs(table).max(1)
    steps = (np.where(largest > 0, largest, 1) / WEIGHT_LEVELS).astype(np.float32)
    return (np.rint(table / steps[:, None]) + WEIGHT_ZERO).astype(np.uint8), steps
