"""Reading a Hugging Face BertForMaskedLM folder into numpy arrays, without torch or transformers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lsr.errors import EncoderError

__all__ = ["BertCheckpoint", "read_checkpoint"]

Array = npt.NDArray[np.float32]

# Every other value of these settings is another network than the one that graph.py writes.
SUPPORTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False}


@dataclass(frozen=True)
class BertCheckpoint:
    """Sizes and weights of one masked language model; linear weights are [out, in] as torch stores them."""

    layers: int
    heads: int
    hidden: int
    vocabulary: int
    positions: int
    epsilon: float
    tensors: dict[str, Array]

    def linear(self, name: str) -> tuple[Array, Array]:
        """Weight [out, in] and bias [out] of a linear layer."""
        return self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")

    def norm(self, name: str) -> tuple[Array, Array]:
        """Scale and shift [hidden] of a layer normalisation; old checkpoints call them gamma and beta."""
        old = f"{name}.gamma" in self.tensors
        return self.tensor(f"{name}.{'gamma' if old else 'weight'}"), self.tensor(f"{name}.{'beta' if old else 'bias'}")

    def decoder(self) -> tuple[Array, Array]:
        """Weight [vocabulary, hidden] and bias [vocabulary] of the vocabulary head; tied to the embeddings or not."""
        embeddings = self.tensor("bert.embeddings.word_embeddings.weight")
        return self.tensors.get("cls.predictions.decoder.weight", embeddings), self.tensor("cls.predictions.bias")

    def tensor(self, name: str) -> Array:
        """The tensor of that name. Raises EncoderError when the checkpoint lacks it."""
        if name not in self.tensors:
            raise EncoderError(f"model.safetensors has no tensor {name!r}: it is not a BertForMaskedLM with its head")
        return self.tensors[name]


def read_checkpoint(folder: Path) -> BertCheckpoint:
    """Reads config.json and model.safetensors of `folder`.

    Raises `EncoderError` when a file is missing or malformed, or the network is another than BERT with a
    masked-language-model head.
    """
    config = _read_config(folder / "config.json")
    for key, expected in SUPPORTED.items():
        if config.get(key, expected) != expected:
            raise EncoderError(
                f"{folder / 'config.json'}: {key} is {config[key]!r}; the export knows only {expected!r}"
            )
    try:
        sizes = {
            "layers": int(config["num_hidden_layers"]),
            "heads": int(config["num_attention_heads"]),
            "hidden": int(config["hidden_size"]),
            "vocabulary": int(config["vocab_size"]),
            "positions": int(config["max_position_embeddings"]),
        }
        epsilon = float(config.get("layer_norm_eps", 1e-12))
    except (KeyError, TypeError, ValueError) as error:
        raise EncoderError(f"{folder / 'config.json'}: not the configuration of a BERT model ({error})") from None
    checkpoint = BertCheckpoint(**sizes, epsilon=epsilon, tensors=_read_tensors(folder / "model.safetensors"))
    shape = checkpoint.tensor("bert.embeddings.word_embeddings.weight").shape
    if shape != (checkpoint.vocabulary, checkpoint.hidden):
        raise EncoderError(
            f"{folder}: embeddings have shape {shape}, config.json says {(checkpoint.vocabulary, checkpoint.hidden)}"
        )
    return checkpoint


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file; give the folder of a Hugging Face BertForMaskedLM") from None
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: not JSON ({error})") from None
    if not isinstance(config, dict):
        raise EncoderError(f"{path}: not the configuration of a model")
    return config


def _read_tensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise EncoderError(f"{path}: no such file; the export reads weights in safetensors form only") from None
    except (OSError, SafetensorError) as error:
        raise EncoderError(f"{path}: not a safetensors file ({error})") from None
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items() if tensor.dtype.kind == "f"}
