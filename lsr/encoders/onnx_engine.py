"""Networks on ONNX Runtime: one thread a run, many runs at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import NetworkSide, Selection, Vector, VectorSide, VocabularyHead
from lsr.encoders.network import (
    Calibration,
    Network,
    build_graph,
    build_probe,
    build_vector_graph,
    check_head,
    read_network,
    with_positions,
)
from lsr.encoders.rows import token_rows, vocabulary_rows
from lsr.errors import EncoderError, InvalidInput, one_line
from lsr.processors import available_cores

__all__ = ["OnnxEngine", "OnnxVectorEngine", "calibrate", "onnx_bytes"]

IdArray = npt.NDArray[np.int64]
OUTPUTS = {"vocabulary": "logits", "tokens": "weights", "latents": "latents"}
LARGEST_MODEL = (1 << 31) - (1 << 20)  # bytes: an ONNX file is one protocol buffer


class _OnnxNetwork:
    """What the engines of ONNX Runtime have in common."""

    # Tokens of a batch, padding included. Short texts share the fixed cost of a run; more gives no speed, takes memory.
    token_budget = 1024
    mixes = False

    def __init__(self, dim: int, threads: int | None) -> None:
        if threads is not None and threads < 1:
            raise InvalidInput(f"threads is {threads}: it must be 1 or more")
        self.dim = dim
        self.workers = threads or available_cores()


class OnnxEngine(_OnnxNetwork):
    """An `Engine` on an ONNX model of the form that lsr.encoders.network.graph writes.

    The vector of a text is a function of that text alone when batches hold texts of one padded length, as
    `DocumentEncoder` makes them: each run has one thread, and 8-bit products are exact.

    Raises `EncoderError` when ONNX Runtime refuses the model, or it was made for something else.
    """

    def __init__(self, model: bytes, chosen: Selection, threads: int | None = None) -> None:
        super().__init__(chosen.dim, threads)
        self._selection = chosen
        self._model = model
        self._session = _session(model, OUTPUTS[chosen.kind], chosen.dim)
        self._inspector: Any = None
        self._lock = Lock()

    def encode(self, ids: IdArray, lengths: IdArray) -> Sequence[Vector]:
        (output,) = _run(self._session, None, {"input_ids": ids, "lengths": lengths})
        if self._selection.kind == "tokens":
            return token_rows(ids, lengths, output, self._selection)
        return vocabulary_rows(output, self._selection)

    def positions(self, ids: IdArray, terms: IdArray) -> IdArray:
        """For one text, ids [L], the position that gave each term; -1 for latents, which come from the whole text."""
        if self._selection.kind == "latents":
            return np.full(len(terms), -1, np.int64)
        if self._selection.kind == "tokens":
            weights = _run(self._session, None, _one(ids))[0][0]
            return np.array([np.argmax(np.where(ids == term, weights, -np.inf)) for term in terms.tolist()], np.int64)
        if self._selection.summed:
            raise InvalidInput("with sum pooling a term comes from all positions, and none can be named")
        with self._lock:
            if self._inspector is None:
                self._inspector = _session(with_positions(self._model), OUTPUTS[self._selection.kind], self.dim)
        found: IdArray = _run(self._inspector, ["positions"], _one(ids))[0][0]
        return found[terms]


class OnnxVectorEngine(_OnnxNetwork):
    """A `VectorEngine` on the graph of a Hugging Face folder; the vectors of a text are a function of it alone, as above.

    Raises `UnsupportedNetwork` for an architecture that has no graph, `EncoderError` as `onnx_bytes`.
    """

    def __init__(self, side: VectorSide, threads: int | None = None) -> None:
        super().__init__(side.head.dim, threads)
        network = read_network(side.folder, head=False)
        self._session = _session(_written(build_vector_graph(network, side.head), side.folder), "vectors", self.dim)

    def encode(self, ids: IdArray, lengths: IdArray, attended: IdArray) -> Sequence[npt.NDArray[np.float32]]:
        (vectors,) = _run(self._session, None, {"input_ids": ids, "lengths": attended})
        return list(vectors)


def onnx_bytes(side: NetworkSide, precision: str) -> bytes:
    """The graph of a Hugging Face folder, its vocabulary head in "fp32" or "int8".

    Raises `UnsupportedNetwork` for an architecture or a head that has no graph, `EncoderError` when the folder is none, or
    its model is larger than ONNX files can be.
    """
    check_head(side.head, side.folder)
    network = read_network(side.folder, head=isinstance(side.head, VocabularyHead))
    if precision == "int8" and not isinstance(side.head, VocabularyHead):
        raise InvalidInput("int8 is for vocabulary heads; this model has another: use fp32")
    proto = build_graph(
        network, side.head, calibration=calibrate(network, side.dropped) if precision == "int8" else None
    )
    return _written(proto, side.folder)


def calibrate(network: Network, dropped: Sequence[int], *, texts: int = 100, length: int = 126) -> Calibration:
    """Mean and spread of what the vocabulary head sees, over texts of terms drawn by chance.

    Chance serves as well as English: on SciFact the error of the logits was .024 with either, since all that is asked
    for is where each dimension lies and how far it reaches. So the export needs no data and gives the same file each time.
    """
    terms = np.setdiff1d(np.arange(network.vocabulary), dropped)
    ids = np.random.default_rng(0).choice(terms, (texts, min(length, network.positions)))
    session = _plain_session(build_probe(network).SerializeToString(), available_cores())
    runs = [
        session.run(None, {"input_ids": part, "lengths": np.full(len(part), part.shape[1])})[0].astype(np.float64)
        for part in np.array_split(ids, max(1, texts // 10))
    ]
    z: npt.NDArray[np.float64] = np.concatenate(runs).reshape(-1, network.words.shape[1])
    return Calibration(center=z.mean(0).astype(np.float32), spread=z.std(0).astype(np.float32))


def _written(proto: Any, folder: Path) -> bytes:
    if proto.ByteSize() > LARGEST_MODEL:
        raise EncoderError(f"{folder}: larger than the 2 GB of an ONNX model; use engine='torch'")
    return bytes(proto.SerializeToString())


def _one(ids: IdArray) -> dict[str, IdArray]:
    return {"input_ids": ids[None], "lengths": np.array([len(ids)], np.int64)}


def _session(model: bytes, output: str, dim: int) -> Any:
    """A session of one thread: batches run side by side, without a barrier after each operation."""
    if b"location" in model and _has_external_data(model):
        raise EncoderError("the model names weights in other files, which lsr never reads; save it as one file")
    try:
        session = _plain_session(model, 1)
        found = session.get_modelmeta().custom_metadata_map.get("dim")
    except Exception as error:  # onnxruntime raises a dozen unrelated kinds
        raise EncoderError(f"ONNX Runtime cannot read the document model ({one_line(error)})") from None
    names = [value.name for value in session.get_inputs()]
    outputs = [value.name for value in session.get_outputs()]
    if names != ["input_ids", "lengths"] or outputs[:1] != [output] or found is None:
        raise EncoderError(f"the document model maps {names} to {outputs}: it was not written by lsr export")
    if found != str(dim):
        raise EncoderError(f"the document model has {found} terms, its tokenizer {dim}: they do not belong together")
    return session


def _has_external_data(model: bytes) -> bool:
    """Whether any tensor lies outside of the model: its place could be any file of the machine."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_from_string(model)
    except DecodeError:
        return False  # ONNX Runtime says what is wrong

    def of_nodes(nodes: Any) -> bool:
        return any(
            is_external(*attribute.tensors, attribute.t) or any(map(of_graph, [*attribute.graphs, attribute.g]))
            for node in nodes
            for attribute in node.attribute
        )

    def of_graph(graph: Any) -> bool:
        sparse = [tensor for one in graph.sparse_initializer for tensor in (one.values, one.indices)]
        return is_external(*graph.initializer, *sparse) or of_nodes(graph.node)

    def is_external(*tensors: Any) -> bool:
        return any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in tensors)

    return of_graph(proto.graph) or any(of_nodes(function.node) for function in proto.functions)


def _run(session: Any, outputs: list[str] | None, inputs: dict[str, IdArray]) -> Any:
    """What the network puts out. Raises `EncoderError` for one that was accepted and fails on its first text."""
    try:
        return session.run(outputs, inputs)
    except Exception as error:  # as in _session
        raise EncoderError(f"ONNX Runtime cannot run the model ({one_line(error)[:300]}); copy it again") from None


def _plain_session(model: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; the log goes to stderr
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
