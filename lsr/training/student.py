"""The student that a recipe describes: two sides on a device. What trainers know of it, whatever its vectors are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from lsr.encoders.layouts.files import TOKENIZER_FILES
from lsr.encoders.tokenizer import read_tokenizer_json
from lsr.encoders.torch_engine import silent
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import MissingExtra
from lsr.training import network
from lsr.training.development import Development, Found
from lsr.training.recipe import Recipe
from lsr.training.start import Beginning, begin

__all__ = ["Student", "Weights", "stop_words", "write_transformer"]

Weights = npt.NDArray[np.float32]


class Student(nn.Module, ABC):
    """The two sides, made by `build`. `idf` float32 [V] is the corpus's, or what the recipe names; regularizers use it too.

    Before that there are the folder, the tokenizer and the vocabulary of the start; `new_head` where it had no head.
    """

    documents: network.Side
    queries: network.Side
    idf: Tensor
    # What the log calls the size of a document's vectors.
    counted: str

    def __init__(self, recipe: Recipe, scratch: Path, precision: str, *, head: bool) -> None:
        super().__init__()
        self.recipe, self._precision, self._scratch = recipe, precision, scratch
        self._beginning = self._begun(head)
        self.folder, self.new_head = self._beginning.folder, self._beginning.new_head
        self.tokenizer_json = read_tokenizer_json(self.folder)
        self.vocabulary = Vocabulary(self.tokenizer_json, int(self._beginning.model.config.vocab_size))

    def _begun(self, head: bool) -> Beginning:
        start, scratch = self.recipe.start, self._scratch
        return begin(start, self.recipe.model(start.model), head=head, dropout=self.recipe.run.dropout, scratch=scratch)

    def _transformer(self, beginning: Beginning, *, head: bool) -> network.Transformer:
        run = self.recipe.run
        return network.Transformer(
            beginning, head=head, precision=self._precision, checkpoint_layers=run.checkpoint_layers
        )

    def _set_mode(self) -> None:
        # transformers checkpoints layers in training alone; without dropout that is the same.
        self.train(self.recipe.run.dropout > 0 or self.recipe.run.checkpoint_layers)

    @abstractmethod
    def build(self, frequencies: Callable[[], Weights]) -> None:
        """Makes the sides. `frequencies` counts the IDF of the documents, when it is needed."""

    def prompt(self, side: str) -> str:
        """What is put before the texts of a side, "query" or "document"."""
        return ""

    @abstractmethod
    def scores(self, asked: Tensor, documents: Tensor) -> Tensor:
        """float32 [B, N]: what the loss compares, of vectors as the sides give them."""

    @abstractmethod
    def sizes(self, documents: Tensor) -> Tensor:
        """float32 [N]: how large the vectors of documents are, in what `counted` says."""

    @abstractmethod
    def figures(self, development: Development, tokens: int, scratch: Path) -> Found:
        """What the student comes to on a development set, with so many tokens at a time, as its model would be used."""

    @abstractmethod
    def save(self, scratch: Path, folder: Path) -> None:
        """Writes it as a model of lsr to a new folder; `scratch` is for files on the way."""


def write_transformer(transformer: network.Transformer, folder: Path, start: Path) -> None:
    """config.json, weights and tokenizer, as transformers reads them; `start` is the folder that training began with."""
    with transformer.whole() as model, silent():
        model.save_pretrained(str(folder))
    (folder / "tokenizer.json").write_text(read_tokenizer_json(start), encoding="utf-8")
    for name in TOKENIZER_FILES:
        if (start / name).is_file():
            (folder / name).write_bytes((start / name).read_bytes())


def stop_words() -> set[str]:
    """English ones. Raises `MissingExtra`."""
    try:
        from bm25s.stopwords import STOPWORDS_EN
    except ImportError:
        raise MissingExtra("bm25s", "train", "dropping stop words") from None
    return set(STOPWORDS_EN)
