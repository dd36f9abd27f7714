"""What the tests of the encoders share: the bundled encoder, and a small model with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lsr.encoders import Encoder, load_encoder
from lsr.encoders.export import export_onnx

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"{a}{b}" for a in "bcdfghjklmnp" for b in "aeiou"]
TOKENS = [*SPECIAL, *WORDS, "##s", "##ing", "!"]
HIDDEN, INNER, POSITIONS, LAYERS = 64, 96, 40, 2


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder()


@pytest.fixture(scope="session")
def tokenizer_json() -> str:
    """A WordPiece tokenizer over TOKENS that, like many on the hub, truncates and pads on its own."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {token: i for i, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    return str(tokenizer.to_str())


def bert_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a BertForMaskedLM, with norms that leave the usual 1 and 0."""
    random = np.random.default_rng(seed)

    def normal(*shape: int, scale: float = 0.3) -> np.ndarray:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    tensors = {
        "bert.embeddings.word_embeddings.weight": normal(len(TOKENS), HIDDEN),
        "bert.embeddings.position_embeddings.weight": normal(POSITIONS, HIDDEN),
        "bert.embeddings.token_type_embeddings.weight": normal(2, HIDDEN),
        "cls.predictions.bias": normal(len(TOKENS)),
    }
    linear = {"cls.predictions.transform.dense": (HIDDEN, HIDDEN)}
    norms = ["bert.embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]
    for i in range(LAYERS):
        layer = f"bert.encoder.layer.{i}"
        linear |= {f"{layer}.attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")}
        linear[f"{layer}.attention.output.dense"] = (HIDDEN, HIDDEN)
        linear[f"{layer}.intermediate.dense"] = (INNER, HIDDEN)
        linear[f"{layer}.output.dense"] = (HIDDEN, INNER)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in linear.items():
        tensors[f"{name}.weight"] = normal(*shape)
        tensors[f"{name}.bias"] = normal(shape[0])
    for name in norms:
        tensors[f"{name}.weight"] = 1 + normal(HIDDEN)
        tensors[f"{name}.bias"] = normal(HIDDEN)
    return tensors


def write_model(folder: Path, tokenizer_json: str, tensors: dict[str, np.ndarray], **config: object) -> Path:
    """Writes a Hugging Face folder, and beside it idf.json."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    settings = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": POSITIONS,
        "num_attention_heads": 4,
        "num_hidden_layers": LAYERS,
        "tie_word_embeddings": "cls.predictions.decoder.weight" not in tensors,
        "type_vocab_size": 2,
        "vocab_size": len(TOKENS),
    }
    (folder / "config.json").write_text(json.dumps(settings | config))
    (folder / "tokenizer.json").write_text(tokenizer_json)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, folder / "model.safetensors")
    idf = {token: 0.5 + i / 10 for i, token in enumerate(TOKENS)}
    (folder / "idf.json").write_text(json.dumps(idf))
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: str) -> Path:
    """A Hugging Face folder with a small BertForMaskedLM of random weights."""
    return write_model(tmp_path_factory.mktemp("models") / "random", tokenizer_json, bert_tensors())


@pytest.fixture(scope="session")
def exported(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model as an encoder folder, 8-bit."""
    output = tmp_path_factory.mktemp("encoders") / "random"
    export_onnx(load_encoder(model_folder, max_length=24), output, precision="int8", samples=["ba be bi", *WORDS])
    return output


@pytest.fixture(scope="session")
def splade_tiny(shared: Path) -> Path:
    """The model that the bundled encoder is made from."""
    folder = shared / "models" / "splade-tiny"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder
