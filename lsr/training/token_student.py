"""The multivector student: a vector for each token, compared by MaxSim (Khattab and Zaharia 2020), learning from teachers as
the sparse one does (Santhanam et al. 2022, section 3.2)."""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lsr.encoders.layouts.modules import optional_object
from lsr.encoders.model import DenseLayer
from lsr.encoders.tokenizer import load_tokenizer
from lsr.encoders.vocabulary import Vocabulary
from lsr.errors import InvalidInput
from lsr.rerank.encoders.layouts import read_model
from lsr.rerank.encoders.layouts.assembly import Said, assembled
from lsr.rerank.encoders.layouts.pipeline import KINDS, SETTINGS
from lsr.rerank.encoders.layouts.writing import write_model
from lsr.rerank.encoders.model import MultiVectorModel, Skiplist
from lsr.training.development import DEPTH, Development, TokensFound
from lsr.training.maxsim import maxsim
from lsr.training.network import TokenNetwork
from lsr.training.recipe import Recipe
from lsr.training.student import Student, Weights, stop_words, write_transformer
from lsr.training.vectors import chunks

__all__ = ["TokenStudent"]

# Before texts, where the tokenizer knows them: tokens of BERT's vocabulary that no text has.
MARKERS = {"query": "[unused0]", "document": "[unused1]"}
WIDTH = 96  # numbers of a vector, where neither the recipe nor the start says
# The loss sees the mean over the vectors of a query times a factor that is trained too, and begins with this: cosines that
# are .02 apart then differ as the targets of neighbours do.
SHARPNESS = 50.0
COLLAPSED = 0.005  # of the mean score: spread of a collection whose vectors have become one
QUERIES = 64  # compared at a time, in evaluations


class TokenStudent(Student):
    """A vector for each token: what sides give is float32 [n, places x width], with zeros where no token is.

    The start may be a multivector model without query expansion: then its projection, markers and skiplist stay.
    Raises `InvalidInput` for one that cannot be trained on, and what the layouts raise.
    """

    documents: TokenNetwork
    queries: TokenNetwork
    counted = "vectors"

    def __init__(self, recipe: Recipe, scratch: Path, precision: str) -> None:
        super().__init__(recipe, scratch, precision, head=False)
        width = int(self._beginning.model.config.hidden_size)
        self._said, weight = self._begun_with(width)
        # What the model could not be saved with is refused before it is trained.
        self._layer = DenseLayer(weight=weight, bias=np.zeros(len(weight), np.float32))
        model = assembled(self.folder, [self._layer], True, self._said, recipe.name)
        self.tokenizer_json = model.document.tokenizer_json
        self.vocabulary = Vocabulary(self.tokenizer_json, self.vocabulary.dim)

    def _begun_with(self, width: int) -> tuple[Said, Weights]:
        """What the model says of how texts are read, and its projection float32 [E, width]."""
        query, document = self.recipe.query, self.recipe.document
        if optional_object(self.folder / SETTINGS).get("model_type") in KINDS:
            start = read_model(self.folder, str(self.folder))
            layers = start.document.head.layers
            plain = len(layers) == 1 and type(layers[0]) is DenseLayer and not layers[0].bias.any()
            if start.expansion is not None or not plain or not start.document.head.unit or start.similarity != "maxsim":
                raise InvalidInput(
                    f"start.model: {self.folder}: a multivector model with query expansion, several layers or vectors of "
                    "other lengths than 1 cannot be trained on; start from its transformer"
                )
            if document.dim not in (None, len(layers[0].weight)):
                raise InvalidInput(
                    f"document.dim is {document.dim}, the start model has {len(layers[0].weight)}: leave it out"
                )
            prompts, skiplist, weight = (start.query.prompt, start.document.prompt), start.skiplist, layers[0].weight
        else:
            tokenizer = load_tokenizer(self.tokenizer_json)
            known = all(tokenizer.token_to_id(token) is not None for token in MARKERS.values())
            prompts = (f"{MARKERS['query']} ", f"{MARKERS['document']} ") if known else ("", "")
            skiplist = Skiplist(words=self._dropped())
            weight = _projection(document.dim or WIDTH, width, self.recipe.seed)
        said = Said(
            query_prompt=prompts[0],
            document_prompt=prompts[1],
            markers=prompts,
            query_length=query.max_length,
            document_length=document.max_length,
            filling=None,
            skiplist=skiplist,
        )
        return said, weight

    def _dropped(self) -> tuple[str, ...]:
        """The tokens of documents that leave no vector."""
        drop, found = self.recipe.document.drop, []
        if "special" in drop:
            found += sorted(self.vocabulary.tokens[i] for i in self.vocabulary.special)
        if "punctuation" in drop:
            found += list(string.punctuation)
        if "stopwords" in drop:
            found += sorted(stop_words())
        return tuple(found)

    def build(self, frequencies: Callable[[], Weights]) -> None:
        recipe = self.recipe
        transformer = self._transformer(self._beginning, head=False)
        project = nn.Linear(self._layer.weight.shape[1], len(self._layer.weight), bias=False)
        with torch.no_grad():
            project.weight.copy_(torch.from_numpy(self._layer.weight))
        # An evaluation reads documents as the model will, training perhaps less of them.
        self.documents = TokenNetwork(transformer, project, recipe.document.max_length, self._left("document"))
        self.queries = TokenNetwork(transformer, project, recipe.query.max_length, self._left("query"))
        self.sharpness = nn.Parameter(torch.tensor(math.log(SHARPNESS)))
        self.idf = torch.ones(self.vocabulary.dim)
        self._set_mode()

    def _left(self, side: str) -> Tensor:
        """1 for tokens whose vectors stay on a side, float32 [V], as the model will read it."""
        skiplist, tokenizer = self._said.skiplist, load_tokenizer(self.tokenizer_json)
        keep = torch.ones(self.vocabulary.dim)
        if side in skiplist.tasks:
            keep[[i for word in skiplist.words if (i := tokenizer.token_to_id(word)) is not None]] = 0
        if side == "document" and skiplist.only is not None:
            only = torch.zeros_like(keep)
            only[[i for i in skiplist.only if i < len(only)]] = 1
            keep *= only
        return keep

    def prompt(self, side: str) -> str:
        return self._said.query_prompt if side == "query" else self._said.document_prompt

    def scores(self, asked: Tensor, documents: Tensor) -> Tensor:
        queries, found = self._vectors(asked), self._vectors(documents)
        count = queries.detach().any(2).sum(1).clamp(min=1)
        return self.sharpness.exp() * maxsim(queries, found) / count[:, None]

    def sizes(self, documents: Tensor) -> Tensor:
        return self._vectors(documents).any(2).sum(1, dtype=torch.float32)

    def _vectors(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), -1, self.documents.project.out_features)

    @torch.no_grad()
    def figures(self, development: Development, tokens: int, scratch: Path) -> TokensFound:
        asked = []
        for chosen in chunks(development.queries.lengths[development.asked], tokens):
            asked.append((chosen, self.queries(*development.queries.batch(development.asked[chosen]))))
        queries = torch.empty(len(development.asked), self.queries.dim, device=asked[0][1].device)
        for chosen, found in asked:
            queries[torch.from_numpy(chosen).to(queries.device)] = found
        scores = torch.empty(len(queries), development.count)
        vectors = 0.0
        for chosen in chunks(development.documents.lengths[: development.count], tokens):
            documents = self.documents(*development.documents.batch(chosen))
            vectors += float(self.sizes(documents).sum())
            parts = [maxsim(self._vectors(part), self._vectors(documents)) for part in torch.split(queries, QUERIES)]
            scores[:, torch.from_numpy(chosen)] = torch.cat(parts).cpu()
        best = scores.topk(min(DEPTH, development.count), dim=1).indices
        ndcg, kinds = development.measured(best.tolist())
        spread = float(scores.std(1).mean() / scores.mean(1).abs().mean().clamp(min=1e-9))
        warnings = (
            ()
            if spread > COLLAPSED or development.count == 1
            else (f"all documents score nearly the same (spread {spread:.4f})",)
        )
        return TokensFound(ndcg=ndcg, kinds=kinds, warnings=warnings, vectors=vectors / max(development.count, 1))

    def save(self, scratch: Path, folder: Path) -> None:
        write_model(self._model(scratch), folder)

    def _model(self, folder: Path) -> MultiVectorModel:
        """The student as a model, its transformer written into `folder`."""
        transformer = self.documents.transformer
        write_transformer(transformer, folder, self.folder)
        weight = self.documents.project.weight.detach().float().cpu().numpy()
        layer = DenseLayer(weight=weight, bias=np.zeros(len(weight), np.float32))
        return assembled(folder, [layer], True, self._said, self.recipe.name)


def _projection(width: int, hidden: int, seed: int) -> Weights:
    """Orthonormal rows, float32 [width, hidden]: cosines stay nearly what they were."""
    random = np.random.default_rng([seed, 6]).normal(size=(max(width, hidden), min(width, hidden)))
    basis = np.linalg.qr(random)[0]
    return np.ascontiguousarray(basis.T if width < hidden else basis, np.float32)
