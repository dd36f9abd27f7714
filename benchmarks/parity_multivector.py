"""Largest difference from sentence-transformers 6 and PyLate on real weights and real texts, in each layout, one process.

    python -m benchmarks.parity_multivector MODEL [--texts 500] [--dim 96] [--pylate SITE]

MODEL is the folder of a BERT, of a dense model say. With a projection of random numbers it becomes a ColBERT: as Stanford's
library writes one, as PyLate does, as sentence-transformers saves Stanford's, and as lsr saves PyLate's. The texts are
queries and passages of SciFact; MaxSim is that of all pairs. `--pylate` is a folder of packages: `pip install --target SITE
--no-deps pylate==1.6.0 sentence-transformers==5.3.0 transformers==5.3.0 tokenizers==0.22.2 huggingface-hub==1.3.0
datasets==4.4.1 accelerate ujson fastkmeans`, and what these lack here.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import string
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lsr.rerank import TokenVectors, load_multivector_encoder
from tests.conftest import shared_folder

ENGINES = ("onnx", "torch")
PYLATE = """
import sys, json; sys.path.insert(0, sys.argv[1])
import numpy as np
from pylate import models
texts = json.load(open(sys.argv[3]))
model = models.ColBERT(sys.argv[2], device="cpu")
found = {}
for name in ("query", "document"):
    vectors = model.encode(texts[name], is_query=name == "query", show_progress_bar=False)
    found[name], found[name + "_offsets"] = np.concatenate(vectors), np.cumsum([0, *map(len, vectors)])
np.savez(sys.argv[4], **found)
"""
Sides = dict[str, TokenVectors]
Texts = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--dim", type=int, default=96)
    parser.add_argument("--pylate")
    given = parser.parse_args()
    texts = read_texts(given.texts)
    print(
        f"{len(texts['query'])} queries, {len(texts['document'])} passages; largest differences, and the largest score"
    )
    print(
        f"{'layout':<18} {'reference':<24} {'engine':<6} {'queries':>9} {'documents':>9} {'MaxSim':>9} {'largest':>8}"
    )
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        stanford, pylate = write_stanford(given.model, work / "stanford", given.dim), work / "pylate"
        write_pylate(given.model, pylate, given.dim)
        saved = work / "saved"
        load_multivector_encoder(pylate).save(saved)
        native = work / "native"
        opened(stanford).save(str(native))
        layouts = {"Stanford": stanford, "PyLate": pylate, "native": native, "PyLate, saved": saved}
        for layout, folder in layouts.items():
            found = {engine: ours(folder, engine, texts) for engine in ENGINES}
            print_rows(layout, "sentence-transformers", found, by_sentence_transformers(folder, texts))
            if given.pylate is not None and layout in ("Stanford", "PyLate"):
                print_rows(layout, "PyLate", found, by_pylate(given.pylate, folder, texts, work))


def read_texts(count: int) -> Texts:
    shared = shared_folder()
    if shared is None:
        sys.exit("the shared collections are not here: set LSR_SHARED to their folder")
    scifact = shared / "data" / "scifact"
    with gzip.open(scifact / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [f"{row['title']} {row['text']}" for row in map(json.loads, islice(lines, count))]
    with (scifact / "queries.jsonl").open(encoding="utf-8") as lines:
        return {"query": [row["text"] for row in map(json.loads, islice(lines, count))], "document": documents}


def ours(folder: Path, engine: str, texts: Texts) -> Sides:
    encoder = load_multivector_encoder(folder, engine=engine)
    return {"query": encoder.encode_queries(texts["query"]), "document": encoder.encode_documents(texts["document"])}


# -- the layouts -------------------------------------------------------------------------------------------------------


def write_stanford(model: Path, folder: Path, dim: int) -> Path:
    def weights(tensors: dict[str, Any]) -> dict[str, Any]:
        width = tensors["embeddings.word_embeddings.weight"].shape[1]
        return {f"bert.{name}": tensor for name, tensor in tensors.items()} | {"linear.weight": projection(dim, width)}

    copy_transformer(model, folder, weights, {"architectures": ["HF_ColBERT"]})
    said = {"query_maxlen": 32, "doc_maxlen": 220, "dim": dim, "mask_punctuation": True, "attend_to_mask_tokens": False}
    write_json(folder / "artifact.metadata", said | {"query_token_id": "[unused0]", "doc_token_id": "[unused1]"})
    return folder


def write_pylate(model: Path, folder: Path, dim: int) -> None:
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer

    words = "embeddings.word_embeddings.weight"
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.add_tokens(["[Q] ", "[D] "])
    shapes = []

    def weights(tensors: dict[str, Any]) -> dict[str, Any]:
        shapes.append(tensors[words].shape)
        added = projection(2, tensors[words].shape[1])  # of the markers, which were trained elsewhere
        return tensors | {words: np.concatenate([tensors[words], added])}

    copy_transformer(model, folder, weights, {"vocab_size": tokenizer.get_vocab_size()})
    tokenizer.save(str(folder / "tokenizer.json"))
    width = shapes[0][1]
    dense = {"in_features": width, "out_features": dim, "bias": False, "use_residual": False}
    (folder / "1_Dense").mkdir()
    write_json(folder / "1_Dense/config.json", dense | {"activation_function": "torch.nn.modules.linear.Identity"})
    save_file({"linear.weight": projection(dim, width)}, folder / "1_Dense/model.safetensors")
    kinds = {"": "sentence_transformers.models.Transformer", "1_Dense": "pylate.models.Dense.Dense"}
    modules = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(kinds.items())]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 179, "do_lower_case": False})
    said: dict[str, Any] = {"model_type": "ColBERT", "prompts": {}, "default_prompt_name": None}
    said |= {"similarity_fn_name": "MaxSim", "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 32}
    said |= {"document_length": 180, "do_query_expansion": True, "attend_to_expansion_tokens": False}
    write_json(folder / "config_sentence_transformers.json", said | {"skiplist_words": list(string.punctuation)})


def copy_transformer(
    model: Path, folder: Path, weights: Callable[[dict[str, Any]], dict[str, Any]], config: dict[str, Any]
) -> None:
    from safetensors.numpy import load_file, save_file

    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (model / name).is_file():
            shutil.copy(model / name, folder / name)
    tensors = {name: tensor for name, tensor in load_file(model / "model.safetensors").items() if "pooler" not in name}
    save_file(weights(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", json.loads((model / "config.json").read_text(encoding="utf-8")) | config)


def projection(dim: int, width: int) -> np.ndarray[Any, Any]:
    numbers: np.ndarray[Any, Any] = np.random.default_rng(0).standard_normal((dim, width)) / width**0.5
    return numbers.astype(np.float32)


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


# -- the references ----------------------------------------------------------------------------------------------------


def opened(folder: Path) -> Any:
    import transformers
    from sentence_transformers import MultiVectorEncoder

    transformers.logging.set_verbosity_error()  # it tells of each weight that the backbone has no use for
    return MultiVectorEncoder(str(folder), device="cpu")


def by_sentence_transformers(folder: Path, texts: Texts) -> tuple[Sides, np.ndarray[Any, Any]]:
    """Its vectors, and its MaxSim of all pairs."""
    model = opened(folder)
    query = model.encode_query(texts["query"], convert_to_numpy=True)
    document = model.encode_document(texts["document"], convert_to_numpy=True)
    found = {"query": joined(query), "document": joined(document)}
    return found, model.similarity(query, document).numpy()


def by_pylate(site: str, folder: Path, texts: Texts, work: Path) -> tuple[Sides, np.ndarray[Any, Any]]:
    """Its vectors, and MaxSim of all pairs of them."""
    (work / "texts.json").write_text(json.dumps(texts))
    output = work / "pylate.npz"
    command = [sys.executable, "-c", PYLATE, site, str(folder), str(work / "texts.json"), str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"PyLate of {site} failed: {done.stderr[-2000:]}")
    with np.load(output) as arrays:
        found = {side: TokenVectors(arrays[f"{side}_offsets"], arrays[side]) for side in ("query", "document")}
    return found, maxsim(found)


def joined(vectors: list[np.ndarray[Any, Any]]) -> TokenVectors:
    return TokenVectors(np.cumsum([0, *map(len, vectors)]), np.concatenate(vectors))


def maxsim(sides: Sides) -> np.ndarray[Any, Any]:
    query, document = sides["query"], sides["document"]
    rows: list[np.ndarray[Any, Any]] = [
        np.maximum.reduceat(query.of(i) @ document.vectors.T, document.offsets[:-1], axis=1).sum(axis=0)
        for i in range(len(query))
    ]
    return np.stack(rows)


def print_rows(layout: str, name: str, found: dict[str, Sides], reference: tuple[Sides, np.ndarray[Any, Any]]) -> None:
    expected, scores = reference
    for engine, sides in found.items():
        for side, vectors in sides.items():
            if not np.array_equal(vectors.offsets, expected[side].offsets):
                sys.exit(f"{layout}, {engine}: another number of vectors of a {side} than {name} has")
        apart = [np.abs(sides[side].vectors - expected[side].vectors).max() for side in ("query", "document")]
        apart.append(np.abs(maxsim(sides) - scores).max())
        numbers = " ".join(f"{number:>9.1e}" for number in apart)
        print(f"{layout:<18} {name:<24} {engine:<6} {numbers} {scores.max():>8.3f}", flush=True)


if __name__ == "__main__":
    main()
