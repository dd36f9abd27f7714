"""Small models of the kinds that teachers are, with random weights, and texts for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.encoders import families

QUERIES = ["where does the fox jump", "compress a log file", "posting lists of an index", "rain in New York"]
DOCUMENTS = [*families.SENTENCES, families.LONG]

# What a ColBERT of Stanford's puts before texts, and how many tokens it reads.
STANFORD_MARKERS = {"query": "fox", "document": "river"}
STANFORD_LENGTHS = {"query": 16, "document": 30}


def dense(folder: Path, *, normalize: bool = True, prompts: dict[str, str] | None = None, work: Path) -> Path:
    """A model of sentence-transformers with mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with families.quiet():
        modules: list[Any] = [Transformer(_backbone(work)), Pooling(families.HIDDEN, "mean")]
        modules += [Normalize()] if normalize else []
        similarity = "cosine" if normalize else "dot"
        SentenceTransformer(modules=modules, prompts=prompts, similarity_fn_name=similarity).save(str(folder))
    return folder


def cross_encoder(folder: Path, labels: int = 1) -> Path:
    """A BERT with a classifier, as transformers saves it."""
    from transformers import AutoModelForSequenceClassification

    config = families.config_of("bert", families.write_tokenizer(folder, "bert"))
    config.num_labels = labels
    with families.quiet():
        families.randomized(AutoModelForSequenceClassification.from_config(config)).save_pretrained(folder)
    return folder


def multi_vector(folder: Path, work: Path) -> Path:
    """A ColBERT as sentence-transformers saves it: backbone, projection, mask of punctuation, unit length, markers."""
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from torch.nn import Identity

    with families.quiet():
        projection = Dense(
            families.HIDDEN,
            16,
            bias=False,
            activation_function=Identity(),
            module_input_name="token_embeddings",
            module_output_name="token_embeddings",
        )
        families.randomized(projection, 4)
        modules: list[Any] = [Transformer(_backbone(work)), projection, MultiVectorMask(skiplist_words=[".", ","])]
        modules.append(Normalize(module_input_name="token_embeddings"))
        prompts = {"query": "quick ", "document": "lazy "}
        MultiVectorEncoder(modules=modules, prompts=prompts).save(str(folder))
    return folder


def stanford_colbert(folder: Path) -> Path:
    """A ColBERT as Stanford's own library saves it: the projection is `linear.weight` beside the backbone."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel

    config = families.config_of("bert", families.write_tokenizer(folder, "bert"))
    config.architectures = ["HF_ColBERT"]
    with families.quiet():
        backbone = families.randomized(AutoModel.from_config(config), 6)
    tensors = {f"bert.{name}": tensor.contiguous() for name, tensor in backbone.state_dict().items()}
    tensors["linear.weight"] = torch.randn((16, families.HIDDEN), generator=torch.Generator().manual_seed(7))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    settings: dict[str, Any] = {"query_maxlen": STANFORD_LENGTHS["query"], "doc_maxlen": STANFORD_LENGTHS["document"]}
    settings |= {"query_token_id": STANFORD_MARKERS["query"], "doc_token_id": STANFORD_MARKERS["document"]}
    settings |= {"mask_punctuation": False, "attend_to_mask_tokens": False}
    (folder / "artifact.metadata").write_text(json.dumps(settings))
    return folder


def _backbone(work: Path) -> str:
    """A bare BERT."""
    from transformers import AutoModel

    config = families.config_of("bert", families.write_tokenizer(work, "bert"))
    families.randomized(AutoModel.from_config(config)).save_pretrained(work)
    return str(work)
