"""The torch engine: memory that does not suffice, several devices, precisions, and its vocabulary head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.encoders import Encoder, load_encoder
from lsr.encoders.model import ACTIVATIONS, NetworkSide
from lsr.errors import EncoderError, InvalidInput
from lsr.sparse import SparseVectors
from tests.encoders import families

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lsr.encoders import torch_head  # noqa: E402
from lsr.encoders.torch_engine import TorchEngine, _Replica  # noqa: E402
from lsr.encoders.torch_head import largest_logits, pooled_activations  # noqa: E402


def token_weights(folder: Path) -> Path:
    """Nearly every token weighs more than 0."""
    from safetensors.torch import load_file, save_file

    path = families.token_weights(folder, "TILDEv2") / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"tok_proj.bias": tensors["tok_proj.bias"] + 3}, path)
    return folder


TEXTS = families.TEXTS
TOLERANCE = 1e-5
MODELS: dict[str, Callable[[Path], Path]] = {
    "bert": families.plain,
    "roberta": lambda folder: families.plain(folder, "roberta"),
    "sum": lambda folder: families.splade5(folder, pooling="sum"),
    "TILDEv2": token_weights,
    "csr": lambda folder: families.saved6(folder, "csr", folder.parent),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("torch") / "model")


@pytest.fixture
def encoder(model: Path) -> Encoder:
    return load_encoder(model, engine="torch")


def dense(vectors: SparseVectors) -> npt.NDArray[np.float32]:
    return np.asarray(vectors.to_scipy().toarray(), np.float32)


def assert_close(found: SparseVectors, expected: SparseVectors) -> None:
    """Batches of other sizes may change the last digits."""
    assert expected.nnz
    np.testing.assert_allclose(dense(found), dense(expected), atol=TOLERANCE)


class Memory:
    """Room for `texts` texts at a time; notes the size of each batch that is tried."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, texts: int) -> None:
        self.texts, self.tried = texts, list[int]()
        output = _Replica.output

        def limited(replica: _Replica, ids: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> object:
            self.tried.append(len(ids))
            if len(ids) > self.texts:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return output(replica, ids, lengths)

        monkeypatch.setattr(_Replica, "output", limited)


# -- memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [1, 3, 5])
def test_a_batch_that_does_not_fit_is_halved_and_so_are_later_ones(
    room: int, encoder: Encoder, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the quick brown fox", "the lazy dog", "rotate a log", "x"] * 5  # all padded to 8 tokens
    expected = load_encoder(model, engine="torch").encode_documents(texts)
    before = encoder.engine.token_budget
    memory = Memory(monkeypatch, room)
    assert_close(encoder.encode_documents(texts), expected)
    assert max(memory.tried) == len(texts)
    assert encoder.engine.token_budget < before
    memory.tried.clear()
    assert_close(encoder.encode_documents(texts), expected)
    assert max(memory.tried) <= room, "it has not learned"


def test_texts_of_all_lengths_keep_their_order_when_batches_are_halved(
    encoder: Encoder, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_encoder(model, engine="torch").encode_documents(TEXTS)
    Memory(monkeypatch, 2)
    assert_close(encoder.encode_documents(TEXTS), expected)


def test_one_text_that_does_not_fit_is_an_error_and_the_engine_works_on(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(monkeypatch, 0)
    for text in ("the quick brown fox", families.LONG):
        with pytest.raises(EncoderError, match=r"memory for one text of \d+ tokens; lower max_length, or use"):
            encoder.encode_documents([text])
    memory.texts = 1
    assert encoder.encode_documents(["the quick brown fox"]).nnz


# -- devices and precisions --------------------------------------------------------------------------------------------


def test_several_devices_share_the_batches(encoder: Encoder, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encoder.encode_documents(TEXTS)
    both = load_encoder(model, device=["cpu", "cpu"])
    used = set[int]()
    output = _Replica.output

    def noted(replica: _Replica, ids: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> object:
        used.add(id(replica))
        return output(replica, ids, lengths)

    monkeypatch.setattr(_Replica, "output", noted)
    both.engine.token_budget = 40
    assert_close(both.encode_documents(TEXTS), expected)
    assert [both.engine.workers, encoder.engine.workers] == [2, 1]
    assert len(used) == 2


def test_bfloat16_is_near_float32(encoder: Encoder, model: Path) -> None:
    rough = load_encoder(model, device="cpu", engine="torch", precision="bf16")
    a, b = dense(encoder.encode_documents(TEXTS)), dense(rough.encode_documents(TEXTS))
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.99
    assert np.abs(a - b).max() > 1e-4, "it was float32"
    assert rough.reading["precision"] == "bf16"


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", ["cpu", "nonsense"]])
def test_a_device_that_is_not_there_is_refused(device: str | list[str], model: Path) -> None:
    name = device if isinstance(device, str) else device[-1]
    with pytest.raises(InvalidInput, match=f"device '{name}' cannot be used") as caught:
        load_encoder(model, device=device).encode_documents(["the fox"])
    assert "\n" not in str(caught.value)


def test_an_unknown_precision_and_no_threads_are_refused(model: Path) -> None:
    side = load_encoder(model).document_side
    assert isinstance(side, NetworkSide)
    with pytest.raises(InvalidInput, match="dtype is 'float8': it must be one of float32, bfloat16, float16"):
        TorchEngine(side, dtype="float8")
    with pytest.raises(InvalidInput, match="precision is 'fp8': it must be one of bf16, fp16, fp32, or None"):
        load_encoder(model, engine="torch", precision="fp8")
    with pytest.raises(InvalidInput, match="threads is 0"):
        load_encoder(model, engine="torch", threads=0).encode_documents(["the fox"])


# -- padding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_padding_never_counts(name: str, tmp_path: Path) -> None:
    """A batch padded with anything at all has the vectors of its texts alone."""
    if name == "csr":
        pytest.importorskip("sentence_transformers")
    encoder = load_encoder(MODELS[name](tmp_path / "model"), engine="torch")
    side = encoder.document_side
    assert isinstance(side, NetworkSide)
    read = [families.ids(side.folder, text) for text in TEXTS]
    lengths = np.array([len(ids) for ids in read])
    ids = np.random.default_rng(0).integers(0, 200, (len(read), lengths.max()))
    for row, found in zip(ids, read, strict=True):
        row[: len(found)] = found
    nonempty = 0
    for (terms, weights), alone in zip(encoder.engine.encode(ids, lengths), read, strict=True):
        ((expected_terms, expected_weights),) = encoder.engine.encode(np.array([alone]), np.array([len(alone)]))
        a, b = np.zeros((2, encoder.dim), np.float32)
        a[terms], b[expected_terms] = weights, expected_weights
        np.testing.assert_allclose(a, b, atol=TOLERANCE)
        nonempty += len(expected_terms) > 0
    assert nonempty > len(read) / 2


# -- the vocabulary head -----------------------------------------------------------------------------------------------

ORACLES = {
    "relu": lambda x: x.clamp(min=0),
    "log1p_relu": lambda x: torch.log(1 + x.clamp(min=0)),
    "log1p_log1p_relu": lambda x: torch.log(1 + torch.log(1 + x.clamp(min=0))),
    "softplus": torch.nn.functional.softplus,
    "log1p_softplus": lambda x: torch.log(1 + torch.nn.functional.softplus(x)),
}
shapes = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(1, 6), st.integers(1, 300))


@given(shape=shapes, seed=st.integers(0, 999), slices=st.integers(1, 3000), block=st.integers(1, 5), data=st.data())
@settings(deadline=None, max_examples=50)
def test_pooling_slice_by_slice_is_pooling_the_whole(
    shape: tuple[int, int, int, int], seed: int, slices: int, block: int, data: st.DataObject
) -> None:
    """Whatever the sizes of slices and blocks, with and without a bias, and whatever stands behind the end of a text."""
    batch, length, size, terms = shape
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, length, size, generator=generator)
    weight, bias = torch.randn(terms, size, generator=generator), torch.randn(terms, generator=generator)
    lengths = torch.tensor(data.draw(st.lists(st.integers(1, length), min_size=batch, max_size=batch)))
    real = torch.arange(length) < lengths[:, None]
    hidden[~real] *= 1e4
    importance = torch.randn(batch, length, generator=generator)
    blocks = [slice(start, start + block) for start in range(0, batch, block)]
    for added in (bias, None):
        logits = hidden.double() @ weight.double().T + (0 if added is None else added.double())
        largest = logits.masked_fill(~real[:, :, None], -torch.inf).amax(1)
        with (
            patch.object(torch_head, "SLICE_ON_CPU", slices),
            patch.object(torch_head, "text_blocks", lambda _: blocks),
        ):
            found = largest_logits(hidden, real, weight, added)
            pooled = {
                (activation, summed, weighed is None): pooled_activations(
                    hidden, real, weight, added, activation, summed=summed, importance=weighed
                )
                for activation in ACTIVATIONS
                for summed in (True, False)
                for weighed in (None, importance)
            }
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, largest.float(), atol=1e-4, rtol=1e-4)
        for (activation, summed, plain), pool in pooled.items():
            weights = ORACLES[activation](logits) * (1 if plain else importance.double()[:, :, None])
            masked = weights.masked_fill(~real[:, :, None], 0.0 if summed else -torch.inf)
            expected = masked.sum(1) if summed else masked.amax(1)
            torch.testing.assert_close(pool, expected.float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("texts", [1, 3, 70])
def test_the_blocks_of_a_gpu_hold_every_text_once(texts: int) -> None:
    from types import SimpleNamespace

    hidden = SimpleNamespace(shape=(texts, 1000, 4), device=torch.device("cuda"))
    found = [i for block in torch_head.text_blocks(hidden) for i in range(texts)[block]]  # type: ignore[arg-type]
    assert found == list(range(texts))
    assert all(len(range(texts)[block]) * 1000 <= torch_head.TOKENS_ON_GPU for block in torch_head.text_blocks(hidden))  # type: ignore[arg-type]
