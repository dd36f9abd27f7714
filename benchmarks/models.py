"""Masked language models of a given size with random weights, for timings: what they find means nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

# Sizes of BERT models: MiniLM-L6 and BERT base.
SIZES = {
    "minilm-l6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
TERMS = 200  # of 30,522: what trained encoders have


def random_model(folder: Path, size: str, tokenizer: Path, texts: Sequence[str]) -> Path:
    """A BERT of that size with the tokenizer of another folder, its output bias set so that texts have about 200 terms."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    reader = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    reader.enable_truncation(128)
    model = BertForMaskedLM(BertConfig(vocab_size=reader.get_vocab_size(), **SIZES[size])).eval()
    with torch.inference_mode():
        largest = torch.stack([model(torch.tensor([reader.encode(text).ids])).logits[0].amax(0) for text in texts])
    with torch.no_grad():
        model.get_output_embeddings().bias -= largest.topk(TERMS).values[:, -1].median()
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tokenizer / name).read_bytes())
    return folder
