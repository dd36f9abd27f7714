"""Networks on torch and transformers: every architecture they know, on CPU and GPU, on several devices at a time."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from lsr.encoders.model import (
    AutoencoderHead,
    NetworkSide,
    Selection,
    TokenHead,
    Vector,
    VectorHead,
    VectorSide,
    VocabularyHead,
    parts_of,
)
from lsr.encoders.rows import selection, token_rows
from lsr.encoders.torch_head import activated, largest_logits, latents, pooled_activations, through, token_weights
from lsr.errors import EncoderError, InvalidInput, MissingExtra, one_line
from lsr.sparse import term_type

if TYPE_CHECKING:
    import torch

__all__ = ["TorchEngine", "TorchNetwork", "pretrained", "silent"]

IdArray = npt.NDArray[np.int64]
T = TypeVar("T")

DTYPES = ("float32", "bfloat16", "float16")
# Tokens of a batch, padding included.
TOKENS_ON_CPU = 4096
TOKENS_ON_GPU = 1 << 16
# Batches that a GPU works on at a time, each in a stream of its own: one computes while the other is prepared and fetched.
STREAMS = 2


class TorchNetwork:
    """What the engines of torch have in common: replicas of a network, and work that is halved when memory ends."""

    mixes = True

    def __init__(
        self,
        side: NetworkSide | VectorSide,
        dim: int,
        device: str | Sequence[str] | None,
        dtype: str | None,
        threads: int | None,
        trust_remote_code: bool,
    ) -> None:
        torch = _torch()
        if threads is not None:
            if threads < 1:
                raise InvalidInput(f"threads is {threads}: it must be 1 or more")
            torch.set_num_threads(threads)
        devices = _devices(device)
        self.dim = dim
        self.token_budget = TOKENS_ON_GPU if devices[0].startswith("cuda") else TOKENS_ON_CPU
        kind = _dtype(dtype, devices[0])
        self._folder = side.folder
        replicas = [_Replica(side, _loaded(side, trust_remote_code), name, kind) for name in devices]
        lanes = [lane for replica in replicas for lane in replica.lanes()]
        self.workers = len(lanes)
        self._free: SimpleQueue[_Replica] = SimpleQueue()
        for lane in lanes:
            self._free.put(lane)

    def _work(self, work: Callable[..., list[T]], *arrays: IdArray) -> list[T]:
        """What the work with a replica gives for each text of the arrays [B, ...], in its stream."""
        torch = _torch()
        with self._replica() as replica:
            try:
                with replica.in_stream():
                    return work(replica, *arrays)
            except torch.cuda.OutOfMemoryError:
                pass  # what the failed batch held, also in the frame below, is let go when the exception is
        torch.cuda.empty_cache()
        texts, length = arrays[0].shape
        if texts == 1:
            raise EncoderError(
                f"{self._folder}: the GPU has not the memory for one text of {length:,} tokens; lower max_length, or use "
                "device='cpu'"
            )
        half = texts // 2
        self.token_budget = min(self.token_budget, half * length)
        parts = ([array[:half] for array in arrays], [array[half:] for array in arrays])
        return [found for part in parts for found in self._work(work, *part)]

    @contextlib.contextmanager
    def _replica(self) -> Iterator[_Replica]:
        replica = self._free.get()
        try:
            yield replica
        finally:
            self._free.put(replica)


class TorchEngine(TorchNetwork):
    """An `Engine` on transformers. Thread-safe. A batch that does not fit in a GPU's memory is halved, and so are later ones.

    device: one, or several ("cuda:0", ["cuda:0", "cuda:1"], "cuda:all"); the CPU when None.
    dtype: "float32", "bfloat16" or "float16"; when None, bfloat16 on GPUs that have it and float32 elsewhere. Pooled logits
    are float32 always.
    threads: cores of the CPU; sets torch's number for the whole process.

    Raises `MissingExtra` without torch or transformers, `EncoderError` when the folder's model is damaged, needs code of its
    own that nobody trusts, or has not the head that the side names, `InvalidInput` for a device or dtype that is not there.
    """

    def __init__(
        self,
        side: NetworkSide,
        *,
        device: str | Sequence[str] | None = None,
        dtype: str | None = None,
        threads: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(side, side.dim, device, dtype, threads, trust_remote_code)
        self._chosen = selection(side)

    def encode(self, ids: IdArray, lengths: IdArray) -> Sequence[Vector]:
        return self._work(self._vectors, ids, lengths)

    def _vectors(self, replica: _Replica, ids: IdArray, lengths: IdArray) -> list[Vector]:
        output = replica.output(ids, lengths)
        if self._chosen.kind == "tokens":
            return token_rows(ids, lengths, output.float().cpu().numpy(), self._chosen)
        return _rows(output, self._chosen)

    def positions(self, ids: IdArray, terms: IdArray) -> IdArray:
        """For one text, ids [L], the position that gave each term; -1 for latents, which come from the whole text."""
        if self._chosen.kind == "latents":
            return np.full(len(terms), -1, np.int64)
        if self._chosen.summed and self._chosen.kind == "vocabulary":
            raise InvalidInput("with sum pooling a term comes from all positions, and none can be named")
        lengths = np.array([len(ids)], np.int64)
        with self._replica() as replica:
            if self._chosen.kind == "tokens":
                weights = replica.output(ids[None], lengths)[0].float().cpu().numpy()
                found = [int(np.argmax(np.where(ids == term, weights, -np.inf))) for term in terms.tolist()]
                return np.array(found, np.int64)
            return replica.positions(ids, terms)


class _Replica:
    """The network on one device, and a stream of work there."""

    def __init__(self, side: NetworkSide | VectorSide, model: Any, device: str, dtype: Any) -> None:
        torch = _torch()
        self.folder, self.head, self.device = side.folder, side.head, device
        self.weight: Any = None
        self.bias: Any = None
        if isinstance(side.head, VocabularyHead):
            decoder = model.get_output_embeddings()
            # The model then gives what the head would multiply. (set_output_embeddings asks the new one for its bias.)
            path = next(name for name, module in model.named_modules() if module is decoder)
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, torch.nn.Identity())
            self.weight = decoder.weight.detach().to(device, dtype)
            self.bias = None if decoder.bias is None else decoder.bias.detach().to(device, torch.float32)
        self.model = model.to(device, dtype).eval()
        self.padding = int(getattr(model.config, "pad_token_id", None) or 0)
        self.stream: Any = None

    def lanes(self) -> list[_Replica]:
        """The same weights, for every stream that the device works on."""
        torch = _torch()
        if not self.device.startswith("cuda"):
            return [self]
        found = [copy(self) for _ in range(STREAMS)]
        torch.cuda.synchronize(self.device)  # the weights are there
        for lane in found:
            lane.stream = torch.cuda.Stream(self.device)
        return found

    def in_stream(self) -> contextlib.AbstractContextManager[object]:
        """Work of the block goes to the stream."""
        found: contextlib.AbstractContextManager[object] = _torch().cuda.stream(self.stream)  # nothing for None
        return found

    def output(self, ids: IdArray, lengths: IdArray) -> torch.Tensor:
        """Pooled and not yet activated logits [B, V], weights [B, L] or latents [B, D]."""
        torch = _torch()
        with torch.inference_mode():
            hidden, states, real = self._hidden(ids, lengths, lengths)
            head = self.head
            if isinstance(head, VocabularyHead):
                return self._vocabulary(head, hidden, states, real)
            if isinstance(head, TokenHead):
                return token_weights(head, hidden)
            assert isinstance(head, AutoencoderHead)
            return latents(head, hidden, real)

    def vectors(self, ids: IdArray, lengths: IdArray, attended: IdArray) -> torch.Tensor:
        """A vector a position, float32 [B, L, dim]."""
        torch = _torch()
        head = self.head
        assert isinstance(head, VectorHead)
        with torch.inference_mode():
            vectors = through(head.layers, self._hidden(ids, lengths, attended)[0])
            return torch.nn.functional.normalize(vectors, dim=-1) if head.unit else vectors

    def _vocabulary(
        self, head: VocabularyHead, hidden: torch.Tensor, states: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Pooled logits [B, V]; activated ones where `selection` says that the network does it."""
        if head.pooling == "cls":
            hidden, states, real = hidden[:, :1], states[:, :1], real[:, :1]
        summed = head.pooling == "sum"
        if summed or head.importance:
            importance = through(head.importance, states)[..., 0] if head.importance else None
            pooled = pooled_activations(
                hidden, real, self.weight, self.bias, head.activation, summed=summed, importance=importance
            )
        else:
            pooled = largest_logits(hidden, real, self.weight, self.bias)
            if head.quality:
                pooled = activated(pooled, head.activation)
        return pooled.mul_(through(head.quality, states[:, 0])) if head.quality else pooled

    def positions(self, ids: IdArray, terms: IdArray) -> IdArray:
        torch = _torch()
        head = self.head
        assert isinstance(head, VocabularyHead)
        if head.pooling == "cls":
            return np.zeros(len(terms), np.int64)
        with torch.inference_mode():
            length = np.array([len(ids)], np.int64)
            hidden, states, _ = self._hidden(ids[None], length, length)
            rows = torch.from_numpy(terms).to(self.device)
            logits = hidden[0].float() @ self.weight[rows].float().T
            if head.importance:
                logits = activated(logits if self.bias is None else logits + self.bias[rows], head.activation)
                logits = logits * through(head.importance, states[0])
            found: IdArray = logits.argmax(0).cpu().numpy()
            return found

    def _hidden(
        self, ids: IdArray, lengths: IdArray, attended: IdArray
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the head reads [B, L, E], what the transformer puts out [B, L, H] (the same but for a masked language model
        with more heads: it costs the memory of all layers), and which positions are attended to [B, L]."""
        torch = _torch()
        head = self.head
        both = isinstance(head, VocabularyHead) and bool(head.importance or head.quality)
        asked = {"output_hidden_states": True} if both else {}
        places = np.arange(ids.shape[1])
        # Some models count positions by what is no padding.
        padded = np.where(places < lengths[:, None], ids, self.padding)
        mask = torch.from_numpy(places < attended[:, None]).to(self.device)
        try:
            output = self.model(
                input_ids=torch.from_numpy(padded).to(self.device),
                attention_mask=mask.long(),
                **asked,
            )
        except torch.cuda.OutOfMemoryError:
            raise
        # Of transformers, torch and the model's own code: settings that nothing checked before.
        except Exception as error:
            raise EncoderError(f"{self.folder}: transformers cannot run the model ({one_line(error)[:300]})") from None
        hidden = output.logits if self.weight is not None else output.last_hidden_state
        return hidden, (output.hidden_states[-1] if both else hidden), mask


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtra("torch", "torch", "encoding with torch") from None
    return torch


def _devices(device: str | Sequence[str] | None) -> list[str]:
    """Names of devices that are there."""
    torch = _torch()
    names = [device] if isinstance(device, str) else list(["cpu"] if device is None else device)
    if names == ["cuda:all"]:
        names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["cuda"]
    for name in names:
        try:
            torch.empty(1, device=name)
        except Exception as error:  # torch raises RuntimeError, AssertionError and others
            raise InvalidInput(f"device {name!r} cannot be used ({one_line(error)[:120]})") from None
    if not names:
        raise InvalidInput("device is an empty list: name one, or give None")
    return names


def _dtype(name: str | None, device: str) -> Any:
    torch = _torch()
    if name is None:
        fast = device.startswith("cuda") and torch.cuda.is_bf16_supported()
        name = "bfloat16" if fast else "float32"
    if name not in DTYPES:
        raise InvalidInput(f"dtype is {name!r}: it must be one of {', '.join(DTYPES)}")
    return getattr(torch, name)


def _loaded(side: NetworkSide | VectorSide, trust_remote_code: bool) -> Any:
    """The model of the side's folder, float32."""
    model, missing = pretrained(
        side.folder, head=isinstance(side.head, VocabularyHead), trust_remote_code=trust_remote_code
    )
    if missing:
        names = ", ".join(sorted(missing)[:3])
        raise EncoderError(
            f"{side.folder}: its weights lack {names}: not the model that config.json names, or no MLM head"
        )
    return model


def pretrained(folder: Path, *, head: bool, trust_remote_code: bool = False) -> tuple[Any, list[str]]:
    """The transformers model of a folder on the CPU in float32, with its vocabulary head or without, and the names of
    weights that the folder lacks: transformers made them up by chance.

    Raises `EncoderError` when the folder holds another model than it says, or damaged weights, `MissingExtra` without
    transformers.
    """
    torch = _torch()
    try:
        import transformers
    except ImportError:
        raise MissingExtra("transformers", "torch", "encoding with torch") from None
    loader = transformers.AutoModelForMaskedLM if head else transformers.AutoModel
    try:
        with silent():
            model, info = loader.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                dtype=torch.float32,
            )
    except Exception as error:  # of transformers, safetensors, torch and the model's own code
        raise EncoderError(f"{folder}: transformers cannot load the model ({one_line(error)[:300]})") from None
    # Parts that are not used here do not count.
    missing = [name for name in info["missing_keys"] if "pooler" not in name and "position_ids" not in name]
    for name, found, expected in sorted(info["mismatched_keys"]):
        raise EncoderError(f"{folder}: {name} has shape {tuple(found)}, config.json says {tuple(expected)}")
    if head and not isinstance(model.get_output_embeddings(), torch.nn.Linear):
        raise EncoderError(f"{folder}: {type(model).__name__} has no linear vocabulary head")
    lacking = set(missing)
    for name, parameter in model.named_parameters():
        if name not in lacking and not torch.isfinite(parameter).all():
            raise EncoderError(f"{folder}: {name} holds NaN or infinity; the weights are damaged")
    return model, missing


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """transformers says much while it loads and saves; what matters is in the loading info."""
    import transformers

    log = logging.getLogger("transformers")
    level, bars = log.level, transformers.utils.logging.is_progress_bar_enabled()
    log.setLevel(logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        log.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()


def _rows(output: torch.Tensor, chosen: Selection) -> list[Vector]:
    """The vectors of output [B, dim], chosen on the device: only what is kept travels."""
    torch = _torch()
    # What becomes 0: no term of its own.
    floor = 0 if parts_of(chosen.activation)[0] == "relu" else -torch.inf
    with torch.inference_mode():
        if chosen.dropped:
            output[:, list(chosen.dropped)] = floor
        limits = [limit for limit in (chosen.largest, chosen.top_terms) if limit is not None and limit < chosen.dim]
        if limits:
            values, terms = output.topk(min(limits), dim=1)
            output = torch.full_like(output, floor).scatter_(1, terms, values)
        output = activated(output, chosen.activation)
        if chosen.prune_ratio:
            output = torch.where(output >= chosen.prune_ratio * output.amax(1, keepdim=True), output, 0)
        rows, terms = output.nonzero(as_tuple=True)
        weights = output[rows, terms].cpu().numpy()
        ends = torch.bincount(rows, minlength=len(output)).cumsum(0).tolist()
        ids = terms.cpu().numpy().astype(term_type(chosen.dim))
    return [(ids[a:b], weights[a:b]) for a, b in pairwise([0, *ends])]
