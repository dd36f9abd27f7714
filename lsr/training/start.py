"""The network that training starts from: weights of a folder with a vocabulary head, or with a new one, and more layers
if asked."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lsr.encoders.hub import model_folder
from lsr.encoders.layouts.hugging_face_writing import write_hugging_face
from lsr.encoders.layouts.modules import MODULES
from lsr.encoders.loading import BUNDLED, load_encoder
from lsr.encoders.network.checkpoint import read_json
from lsr.encoders.torch_engine import pretrained
from lsr.errors import EncoderError, InvalidInput
from lsr.training.recipe import Start

__all__ = ["Beginning", "begin", "scale_of_head"]

# Last linear layers of attention and of the feed-forward part, by the ends of their names: BERT, RoBERTa, MiniLM and
# ELECTRA; MPNet; DistilBERT; ModernBERT. With these 0 a layer adds nothing to what passes through it.
LAST_LINEAR = ("output.dense", "attention.attn.o", "out_lin", "lin2", "attn.Wo", "mlp.Wo")
# Mean of a text's largest logit from which the head is scaled down at the start: log1p of it is far beyond any trained model.
LARGE_LOGIT = 60.0


@dataclass(kw_only=True)
class Beginning:
    """A transformers model with its folder; `new_head` when the folder had none."""

    folder: Path
    model: Any
    new_head: bool


def begin(start: Start, name: str, *, head: bool, dropout: float, scratch: Path) -> Beginning:
    """The start model `name` (a folder, hub id or bundled encoder) on the CPU in float32.

    head: whether a vocabulary head is needed. scratch: where the weights of a bundled encoder are written to.
    Raises `EncoderError` when the folder holds no transformer, `InvalidInput` for layers that cannot be.
    """
    folder = _folder(name, scratch)
    model, lacking = pretrained(folder, head=head)
    new_head = False
    if lacking:
        if not head or not all(_of_head(key) for key in lacking):
            names = ", ".join(sorted(lacking)[:3])
            raise EncoderError(f"{folder}: its weights lack {names}: not the model that config.json names")
        _new_head(model)
        new_head = True
    if start.layers is not None:
        _stretch(model, start.layers, str(folder))
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        for key, value in vars(module).items():
            if "dropout" in key and isinstance(value, float):  # of attention that is one fused call
                setattr(module, key, dropout)
    for key in ("hidden_dropout_prob", "attention_probs_dropout_prob", "attention_dropout", "dropout"):
        if hasattr(model.config, key):
            setattr(model.config, key, dropout)
    return Beginning(folder=folder, model=model, new_head=new_head)


def _folder(name: str, scratch: Path) -> Path:
    """The Hugging Face folder of a model's transformer."""
    if name in BUNDLED:
        folder = scratch / name
        if not folder.is_dir():
            write_hugging_face(load_encoder(name).model, folder)
        return folder
    folder, _ = model_folder(name)
    if (folder / "config.json").is_file():
        return folder
    if (folder / MODULES).is_file():  # older models of sentence-transformers keep the transformer in 0_Transformer
        listed = read_json(folder / MODULES)
        first = folder / str(listed[0].get("path", "")) if isinstance(listed, list) and listed else folder
        if (first / "config.json").is_file() and ".." not in first.relative_to(folder).parts:
            return first
    raise EncoderError(f"{folder}: holds no config.json of a transformer")


def _of_head(key: str) -> bool:
    return any(part in key for part in ("cls.", "lm_head", "vocab_", "predictions", "decoder", "head."))


def _new_head(model: Any) -> None:
    """Dense layer, gelu, normalisation, decoder tied to the embeddings: the dense layer near identity, so that what the
    network knows reaches the product with the embeddings."""
    decoder = model.get_output_embeddings()
    hidden = model.config.hidden_size
    inner = {id(p) for p in model.base_model.parameters()}
    with torch.no_grad():
        for module in model.modules():
            own = [p for p in module.parameters(recurse=False) if id(p) not in inner]
            if not own or module is decoder:
                continue
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                if module.weight.shape == (hidden, hidden):
                    module.weight += torch.eye(hidden)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        decoder.weight = model.get_input_embeddings().weight
        if decoder.bias is not None:
            nn.init.zeros_(decoder.bias)


def _layers(model: Any, where: str) -> tuple[nn.ModuleList, int]:
    count = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module, count
    raise EncoderError(f"{where}: {type(model).__name__} has no list of {count} layers; leave start.layers out")


def _stretch(model: Any, wanted: int, where: str) -> None:
    """More layers on top, or fewer. A new one begins as nearly nothing: its last linear layers are 0."""
    layers, count = _layers(model, where)
    if wanted < count:
        del layers[wanted:]
    for _ in range(wanted - count):
        layer = copy.deepcopy(layers[count - 1])
        ends = [m for name, m in layer.named_modules() if name.endswith(LAST_LINEAR) and isinstance(m, nn.Linear)]
        if not ends:
            raise InvalidInput(f"{where}: {type(model).__name__} cannot be given more layers; leave start.layers out")
        with torch.no_grad():
            for end in ends:
                nn.init.zeros_(end.weight)
                if end.bias is not None:
                    nn.init.zeros_(end.bias)
            for module in layer.modules():
                if isinstance(module, nn.LayerNorm) and not _normalises_first(model):
                    _pass_through(module)
        layers.append(layer)
    model.config.num_hidden_layers = wanted


def _normalises_first(model: Any) -> bool:
    """Whether layers normalise what they read (ModernBERT), not what they give."""
    return "modernbert" in str(model.config.model_type)


def _pass_through(norm: nn.LayerNorm) -> None:
    """Gives back, nearly, what the same normalisation of the layer before gave: scale and shift are their spread and mean."""
    scale, shift = norm.weight, norm.bias
    spread = (scale.square().mean() + shift.var(unbiased=False)).sqrt()
    mean = shift.mean()
    scale.fill_(float(spread))
    shift.fill_(float(mean))


def scale_of_head(largest: Tensor, hidden: int, asked: float | None) -> float:
    """What to multiply the input of the vocabulary product with: `largest` are the largest logits of some texts [B]."""
    if asked is not None:
        return asked
    return float(hidden**-0.25) if float(largest.mean()) > LARGE_LOGIT else 1.0
