"""The sparse student: sides that give a weight for each term, and how they become a model that `load_encoder` opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lsr.encoders import load_encoder
from lsr.encoders.encoder import Encoder, Settings
from lsr.encoders.layouts import model_of
from lsr.encoders.layouts.hugging_face import network_side
from lsr.encoders.model import DenseLayer, Head, Model, NetworkSide, Side, TableSide, TokenHead, VocabularyHead
from lsr.encoders.tables import read_idf_json
from lsr.errors import EncoderMismatch, InvalidInput
from lsr.training import network
from lsr.training.development import Development, SparseFound, evaluate_sparse
from lsr.training.head import pooled_logits
from lsr.training.recipe import DocumentSide, QuerySide, Recipe
from lsr.training.start import scale_of_head
from lsr.training.student import Student, Weights, stop_words, write_transformer

__all__ = ["SparseStudent"]

TABLES = ("idf", "binary", "table")


class SparseStudent(Student):
    """A weight for each term of the vocabulary: vectors are float32 [n, V]."""

    documents: network.Network
    counted = "nnz"

    def __init__(self, recipe: Recipe, scratch: Path, precision: str) -> None:
        super().__init__(recipe, scratch, precision, head=recipe.document.kind != "mlp")
        for side in (recipe.document, recipe.query):
            if side.kind not in TABLES:  # what the model could not be saved with is refused before it is trained
                network_side(self.folder, VocabularyHead(), max_length=side.max_length)

    def build(self, frequencies: Callable[[], Weights]) -> None:
        recipe, keep = self.recipe, self._kept(self.recipe.document.drop)
        transformer = self._transformer(self._beginning, head=recipe.document.kind != "mlp")
        in_training = recipe.document.top_terms if recipe.document.top_terms_in_training else None
        self.documents = network.Network(transformer, recipe.document, keep, top_terms=in_training)
        self.idf = torch.from_numpy(self._idf(frequencies))
        if recipe.query.kind in TABLES:
            self.queries = self._table(self._kept(("special",)))
        else:
            self.queries = self._query_network(transformer, keep)
        self._set_mode()

    def _query_network(self, transformer: network.Transformer, keep: Tensor) -> network.Network:
        query, document = self.recipe.query, self.recipe.document
        same_head = query.kind == document.kind and query.activation == document.activation
        if query.shared and same_head and not (document.importance or document.quality):
            return self.documents
        if not query.shared or (query.kind == "mlp") != (document.kind == "mlp"):
            head = query.kind != "mlp"
            transformer = self._transformer(self._begun(head), head=head)
        return network.Network(transformer, query, keep)

    def _table(self, keep: Tensor) -> network.Side:
        query = self.recipe.query
        if query.kind == "table":
            return network.LearnedTable(self._beginning.model.get_input_embeddings().weight, keep)
        values = torch.ones(self.vocabulary.dim) if query.kind == "binary" else self.idf
        return network.Table(values, keep, train=query.train)

    def _idf(self, frequencies: Callable[[], Weights]) -> Weights:
        """IDF where something uses it, else ones."""
        query = self.recipe.query
        if query.kind != "idf" and not any(r.idf_aware for r in self.recipe.regularizers):
            return np.ones(self.vocabulary.dim, np.float32)
        if query.idf == "corpus":
            return frequencies()
        if query.idf == "start":
            encoder = load_encoder(self.recipe.model(self.recipe.start.model))
            side = encoder.model.query
            if not isinstance(side, TableSide):
                raise InvalidInput(
                    "query.idf: the start model has no table of query weights; take corpus or an idf.json"
                )
            return side.weights.astype(np.float32)
        path = self.recipe.path(query.idf)
        if not path.is_file():
            raise InvalidInput(f"query.idf: {path}: no such file; give corpus, start, or an idf.json")
        return read_idf_json(path, self.vocabulary, missing=0.0)

    def _kept(self, drop: tuple[str, ...]) -> Tensor:
        """1 for tokens that may leave the model, 0 for those of the kinds in `drop`; float32 [V]."""
        keep = torch.ones(self.vocabulary.dim)
        special = self.vocabulary.special
        if "special" in drop:
            keep[sorted(special)] = 0
        words: set[str] = set()
        if "stopwords" in drop:
            words = stop_words()
        for term, token in enumerate(self.vocabulary.tokens):
            if term in special:
                continue
            bare = token.removeprefix("##").lstrip("Ġ▁")
            if "punctuation" in drop and not any(c.isalnum() for c in bare):
                keep[term] = 0
            if bare == token.lstrip("Ġ▁") and bare in words:
                keep[term] = 0
        return keep

    def scores(self, asked: Tensor, documents: Tensor) -> Tensor:
        return asked @ documents.T

    def sizes(self, documents: Tensor) -> Tensor:
        return (documents > 0).sum(1, dtype=torch.float32)

    def figures(self, development: Development, tokens: int, scratch: Path) -> SparseFound:
        terms = self.recipe.document.top_terms
        return evaluate_sparse(development, self.documents, self.queries, terms, tokens, scratch)

    def rescale(self, ids: Tensor, lengths: Tensor) -> float:
        """Makes the head smaller where its logits are far beyond those of any trained model. Returns the factor."""
        transformer = self.documents.transformer
        if self.documents.kind == "mlp":
            return 1.0
        training = transformer.training
        with torch.no_grad():
            hidden = transformer.eval()(ids, lengths)
            transformer.train(training)
            real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            logits = nn.functional.linear(hidden.float()[real][:4096], transformer.table)
        factor = scale_of_head(logits.amax(1), transformer.width, self.recipe.start.rescale)
        if factor != 1.0:
            inner = {id(p) for p in transformer.model.base_model.parameters()}
            norms = [m for m in transformer.model.modules() if hasattr(m, "weight") and "Norm" in type(m).__name__]
            own = [m for m in norms if id(m.weight) not in inner]
            if not own:
                raise InvalidInput("start.rescale: the head of the start model has no normalisation to scale")
            with torch.no_grad():
                own[-1].weight.mul_(factor)
                if getattr(own[-1], "bias", None) is not None:
                    own[-1].bias.mul_(factor)
        return factor

    def lower(self, ids: Tensor, lengths: Tensor) -> float:
        """Lowers all logits of the head by one number, so that these texts have `start.terms` terms in the mean (of those
        that may leave). Returns the number."""
        transformer = self.documents.transformer
        if self.documents.kind == "mlp" or transformer.bias is None:
            return 0.0
        training = transformer.training
        with torch.no_grad():
            hidden = transformer.eval()(ids, lengths)
            transformer.train(training)
            logits = pooled_logits(hidden, lengths, transformer.table, transformer.bias)[:, self.documents.keep > 0]
            wanted = self.recipe.start.terms * len(logits)
            if wanted >= logits.numel():
                return 0.0
            number = logits.flatten().topk(wanted + 1).values[-1]
            transformer.bias.sub_(number)
        return float(number)

    # -- leaving -------------------------------------------------------------------------------------------------------

    def save(self, scratch: Path, folder: Path) -> None:
        Encoder(self._model(scratch, self.recipe.name), Settings()).save(folder)

    def _model(self, folder: Path, name: str) -> Model:
        """The student as a model of lsr, its transformers written into `folder`."""
        recipe = self.recipe
        document = self._side(self.documents, recipe.document, folder / "document")
        if isinstance(self.queries, network.Table | network.LearnedTable):
            query: Side = TableSide(
                tokenizer_json=self.tokenizer_json,
                weights=self.queries.table().detach().float().cpu().numpy(),
                special="drop",
                unknown="drop",
                max_length=None,
                adapts=recipe.query.kind == "idf" and not recipe.query.train,
            )
        elif self.queries is self.documents:
            assert isinstance(document, NetworkSide)
            query = replace(document, max_length=recipe.query.max_length, top_terms=recipe.query.top_terms)
        else:
            assert isinstance(self.queries, network.Network)
            query = self._side(self.queries, recipe.query, folder / "query")
        if query.dim != document.dim:
            raise EncoderMismatch(f"queries have {query.dim} terms, documents {document.dim}")
        return model_of(query, document, name=name, source=name)

    def _side(self, side: network.Network, choice: DocumentSide | QuerySide, folder: Path) -> Side:
        write_transformer(side.transformer, folder, self.folder)
        dropped = tuple(int(i) for i in np.flatnonzero(side.keep.cpu().numpy() == 0))
        read = network_side(folder, _head(side), max_length=choice.max_length, dropped=dropped)
        return replace(read, top_terms=choice.top_terms)


def _head(side: network.Network) -> Head:
    if side.token is not None:
        layer = _dense(side.token, "softplus" if "softplus" in side.activation else "relu")
        return TokenHead(layers=(layer,), log1p="log1p" in side.activation, pooling=side.pooling)
    pooling = "cls" if side.kind == "cls-mlm" else side.pooling
    return VocabularyHead(
        pooling=pooling,
        activation=side.activation,
        importance=() if side.importance is None else (_dense(side.importance, "softplus"),),
        quality=() if side.quality is None else (_dense(side.quality, "softplus"),),
    )


def _dense(layer: nn.Linear, activation: str) -> DenseLayer:
    weight, bias = (x.detach().float().cpu().numpy() for x in (layer.weight, layer.bias))
    return DenseLayer(weight=weight, bias=bias, activation=activation)
