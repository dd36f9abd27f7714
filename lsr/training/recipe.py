"""Recipes: what `lsr train` is told, as a tree of dataclasses, read from YAML.

Each method of the unified framework of learned sparse retrieval (Nguyen et al. 2023) is a choice of query side,
document side, regularizers and supervision; `recipes/` of the repository has one file a method. A file says what
differs from the values here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsr.encoders.loading import BUNDLED
from lsr.encoders.model import ACTIVATIONS
from lsr.errors import InvalidInput
from lsr.schema import between, choice, from_mapping, read_yaml

__all__ = [
    "MULTIVECTOR",
    "Candidates",
    "Data",
    "Distillation",
    "DocumentSide",
    "Evaluate",
    "Loss",
    "Made",
    "QuerySide",
    "QuerySource",
    "Recipe",
    "Regularizer",
    "Run",
    "Start",
    "TeacherChoice",
    "read_recipe",
]


MULTIVECTOR = "multivector"  # the kind of both sides, or of none
# What sides and the start are told that is about terms.
OF_TERMS = {
    "start": ("rescale", "terms"),
    "query": ("idf", "train", "learning_rate", "shared", "activation", "top_terms"),
    "document": ("pooling", "activation", "top_terms", "top_terms_in_training", "importance", "quality"),
}
MATRIX = ("dense", "sparse", "bm25")  # kinds of teachers that score whole batches


@dataclass(frozen=True, kw_only=True)
class Start:
    """The network that training begins with.

    model: folder, hub id, or a bundled encoder. One without a vocabulary head gets one (dense, gelu, normalisation, decoder
      tied to the embeddings), and `mlm_steps` of masked language modelling on the documents before everything else.
    layers: of the transformer; more than the model has are added on top, and change nothing until they are trained.
    rescale: factor of the input of the vocabulary product; None is 1, or hidden ** -0.25 where logits are so large that the
      regularizer would tear terms down at the first steps.
    imitate: the name of a sparse teacher with the same vocabulary, whose vectors of documents the network learns for
      `imitate_steps` steps after that.
    terms: a new head starts with as many terms a document: one constant is taken from all logits, to which masked language
      modelling is indifferent. Without it, nearly the whole vocabulary is active, and the regularizer has to put it out.
    """

    model: str = "lsr-tiny"
    layers: int | None = field(default=None, metadata=between(1, 96))
    mlm_steps: int | None = field(default=None, metadata=between(0, 1_000_000))
    rescale: float | None = field(default=None, metadata=between(1e-3, 1e3))
    terms: int = field(default=500, metadata=between(1, 1_000_000))
    imitate: str | None = None
    imitate_steps: int = field(default=2000, metadata=between(1, 1_000_000))


@dataclass(frozen=True, kw_only=True)
class QuerySide:
    """How queries become vectors (Nguyen et al. 2023, table 1).

    kind: "idf" and "binary" are tables (a word's weight, or 1), "table" a learned one (Li-LSR: log(1 + relu(w . E[t] +
    b)), baked
      when saved), "mlm", "cls-mlm" and "mlp" networks.
    idf: "corpus" counts the documents of training, "start" takes the table of the start model, otherwise a file (idf.json).
    train: whether the IDF is trained, with `learning_rate` of its own.
    shared: whether a network is the one of documents.
    """

    kind: str = field(default="idf", metadata=choice("idf", "binary", "table", "mlm", "cls-mlm", "mlp", MULTIVECTOR))
    idf: str = "corpus"
    train: bool = False
    learning_rate: float = field(default=1e-3, metadata=between(0, 1))
    shared: bool = True
    activation: str = field(default="log1p_relu", metadata=choice(*ACTIVATIONS))
    max_length: int = field(default=64, metadata=between(3, 8192))
    top_terms: int | None = field(default=None, metadata=between(1, 1 << 20))


@dataclass(frozen=True, kw_only=True)
class DocumentSide:
    """How documents become vectors.

    kind: of the vocabulary head; or "multivector", on both sides: a vector of `dim` numbers for each token (96 when None),
      for reranking. `drop` says which tokens leave none then, and what is about terms must be left out.
    drop: terms that never leave the model: "special" tokens, "punctuation", "stopwords" (English).
    top_terms: the heaviest that are kept when the model is used; training sees all, unless `top_terms_in_training`.
    importance, quality: EPIC's heads, a factor for each position and one for each text.
    """

    kind: str = field(default="mlm", metadata=choice("mlm", "cls-mlm", "mlp", MULTIVECTOR))
    pooling: str = field(default="max", metadata=choice("max", "sum"))
    activation: str = field(default="log1p_relu", metadata=choice(*ACTIVATIONS))
    max_length: int = field(default=256, metadata=between(3, 8192))
    top_terms: int | None = field(default=256, metadata=between(1, 1 << 20))
    top_terms_in_training: bool = False
    drop: tuple[str, ...] = ("special",)
    dim: int | None = field(default=None, metadata=between(8, 4096))
    importance: bool = False
    quality: bool = False

    def __post_init__(self) -> None:
        for name in self.drop:
            if name not in ("special", "punctuation", "stopwords"):
                raise InvalidInput(f"document.drop: {name!r} is none of special, punctuation, stopwords")


@dataclass(frozen=True, kw_only=True)
class QuerySource:
    """A file of queries: jsonl with query and, if there are, positive texts; or tsv. `share` of the batches, by size
    when None."""

    file: str
    kind: str | None = None
    share: float | None = field(default=None, metadata=between(0, 1e6))
    inflect: float = field(default=0.0, metadata=between(0, 1))


@dataclass(frozen=True, kw_only=True)
class Made:
    """Queries made of the documents: lsr.training.data.made says what the kinds are. `count` None is one a document at
    most."""

    kind: str
    name: str | None = None
    count: int | None = field(default=None, metadata=between(1, 1 << 31))
    share: float | None = field(default=None, metadata=between(0, 1e6))
    inflect: float = field(default=0.0, metadata=between(0, 1))


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is trained on. `development` is a BEIR folder; without it `held_out` queries with a positive are set aside."""

    documents: tuple[str, ...] = ()
    queries: tuple[QuerySource, ...] = ()
    made: tuple[Made, ...] = ()
    development: str | None = None
    held_out: int = field(default=500, metadata=between(0, 1_000_000))


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Documents of a query in a batch: its positive and draws by strata (first rank, last rank, how many), and random
    ones."""

    miners: tuple[str, ...] = ()  # names of teachers; all that can when empty
    depth: int = field(default=100, metadata=between(1, 10_000))
    strata: tuple[tuple[int, int, int], ...] = ((1, 10, 4), (11, 100, 3))
    random: int = field(default=1, metadata=between(0, 1000))


@dataclass(frozen=True, kw_only=True)
class TeacherChoice:
    """kind: dense, sparse, bm25, cross-encoder, multivector, scores (a file)."""

    kind: str = field(metadata=choice("dense", "sparse", "bm25", "cross-encoder", "multivector", "scores"))
    model: str | None = None
    name: str | None = None
    weight: float = field(default=1.0, metadata=between(0, 1e6))
    tokens: str = field(default="stems", metadata=choice("stems", "wordpieces"))
    max_length: int | None = field(default=None, metadata=between(3, 8192))
    precision: str | None = field(default=None, metadata=choice("fp32", "bf16", "fp16"))

    def __post_init__(self) -> None:
        if self.kind != "bm25" and self.model is None:
            raise InvalidInput(f"teachers: the {self.kind} teacher needs a model (for scores: a file)")

    @property
    def called(self) -> str:
        return self.name or (self.kind if self.model is None else Path(self.model).name)


@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How scores of teachers become targets (Geng et al. 2024): normalised a query, averaged, times scale."""

    normalize: str = field(default="minmax", metadata=choice("minmax", "affine", "none"))
    scale: float = field(default=30.0, metadata=between(1e-6, 1e6))


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Weights of the losses; those of 0 are not computed.

    kl: to the teachers, over the query's own candidates. block_kl: over all documents of the batch. margin_mse:
    differences to the first candidate, to those of the teachers. contrastive: cross entropy of the positive among the
    own candidates. info_nce: among all documents of the batch. term_recall: squared error of a positive's weights to
    the terms of the query (DeepCT).
    """

    kl: float = field(default=1.0, metadata=between(0, 1e6))
    block_kl: float = field(default=1.0, metadata=between(0, 1e6))
    margin_mse: float = field(default=0.0, metadata=between(0, 1e6))
    contrastive: float = field(default=0.0, metadata=between(0, 1e6))
    info_nce: float = field(default=0.0, metadata=between(0, 1e6))
    term_recall: float = field(default=0.0, metadata=between(0, 1e6))
    temperature: float = field(default=1.0, metadata=between(1e-6, 1e6))

    @property
    def taught(self) -> bool:
        """Whether it needs teachers."""
        return bool(self.kl or self.block_kl or self.margin_mse)


@dataclass(frozen=True, kw_only=True)
class Regularizer:
    """A penalty on the vectors of one side; see lsr.training.regularizers.

    ramp: share of the steps over which its strength grows, by the square of the share done.
    idf_aware: weights are divided by the IDF before (Geng et al. 2024). threshold: only texts with more terms are
    penalised (l0). nnz: mean number of terms to hold; strength is then only where a controller begins.
    """

    kind: str = field(default="flops", metadata=choice("flops", "l1", "df_flops", "anti_zero"))
    side: str = field(default="document", metadata=choice("document", "query"))
    strength: float = field(default=0.1, metadata=between(0, 1e9))
    ramp: float = field(default=1 / 3, metadata=between(0, 1))
    idf_aware: bool = False
    threshold: int | None = field(default=None, metadata=between(1, 1 << 20))
    nnz: float | None = field(default=None, metadata=between(1, 1 << 20))
    alpha: float = field(default=0.1, metadata=between(1e-9, 0.999999))
    beta: float = field(default=10.0, metadata=between(0.1, 100))


@dataclass(frozen=True, kw_only=True)
class Run:
    """How long and how. What a step computes depends on `batch` alone; `chunk`, processes and devices only say how.

    max_length: tokens of a document that are read in training; those of the document side when None. batch: queries a
    step, over all processes. chunk: tokens, with padding, that go through a network at a time. recompute:
    whether the chunks are run again for their gradients instead of being kept (None: once a GPU has not the memory).

    average: weights are evaluated and kept as a running mean with this factor. start_share: share of the start's weights in
    the model that is written (Wortsman et al. 2022): what training forgot of it comes back in part.
    """

    steps: int = field(default=10_000, metadata=between(1, 100_000_000))
    batch: int = field(default=64, metadata=between(1, 1 << 20))
    max_length: int | None = field(default=None, metadata=between(3, 8192))
    learning_rate: float = field(default=4e-4, metadata=between(0, 1))
    warmup: float = field(default=0.05, metadata=between(0, 1))
    schedule: str = field(default="linear", metadata=choice("linear", "cosine", "constant"))
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = field(default=0.01, metadata=between(0, 1))
    clip: float = field(default=1.0, metadata=between(0, 1e6))
    dropout: float = field(default=0.0, metadata=between(0, 0.9))
    precision: str | None = field(default=None, metadata=choice("fp32", "bf16"))
    chunk: int | None = field(default=None, metadata=between(1, 1 << 30))
    recompute: bool | None = None
    checkpoint_layers: bool = False
    average: float | None = field(default=None, metadata=between(0, 0.99999))
    start_share: float = field(default=0.0, metadata=between(0, 1))

    def __post_init__(self) -> None:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InvalidInput(f"run.betas is {list(self.betas)}: both must be 0 or more, and below 1")


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Every so many steps: nDCG@10 on the development set, a checkpoint, a line of the log.

    keep: the weights of the best evaluation, or the last ones: a development set of made queries, which nearly every model
    answers, tells little of the others.
    """

    every: int = field(default=1000, metadata=between(1, 100_000_000))
    checkpoint: int = field(default=1000, metadata=between(1, 100_000_000))
    log: int = field(default=50, metadata=between(1, 1_000_000))
    documents: int = field(default=20_000, metadata=between(1, 10_000_000))
    keep: str = field(default="best", metadata=choice("best", "last"))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All of it. Paths are relative to the recipe's folder, or are names of bundled encoders or hub ids."""

    name: str = "model"
    seed: int = field(default=1, metadata=between(0, 2**32 - 1))
    start: Start = Start()
    query: QuerySide = QuerySide()
    document: DocumentSide = DocumentSide()
    data: Data = Data()
    candidates: Candidates = Candidates()
    teachers: tuple[TeacherChoice, ...] = ()
    distillation: Distillation = Distillation()
    loss: Loss = Loss()
    regularizers: tuple[Regularizer, ...] = (Regularizer(),)
    run: Run = Run()
    evaluate: Evaluate = Evaluate()
    licence: str | None = None
    folder: Path = field(default=Path(), metadata={"skip": True})

    def __post_init__(self) -> None:
        self._check_kinds()
        names = [teacher.called for teacher in self.teachers]
        for name in names:
            if names.count(name) > 1:
                raise InvalidInput(f"teachers: two are called {name!r}; give one of them a name")
        for name in self.candidates.miners:
            if name not in names:
                raise InvalidInput(f"candidates.miners: no teacher is called {name!r} (there are: {', '.join(names)})")
        if self.loss.taught and not self.teachers:
            raise InvalidInput(
                "loss: kl, block_kl and margin_mse need teachers; name some, or use contrastive or info_nce"
            )
        if self.loss.block_kl and not any(teacher.kind in MATRIX for teacher in self.teachers):
            raise InvalidInput(
                f"loss.block_kl: needs a teacher that scores whole batches ({', '.join(MATRIX)}); set it to 0"
            )
        if not any(value for key, value in vars(self.loss).items() if key != "temperature"):
            raise InvalidInput("loss: all weights are 0, nothing would be learned")
        compared = [name for name in ("kl", "margin_mse", "contrastive") if getattr(self.loss, name)]
        each = sum(count for _, _, count in self.candidates.strata) + self.candidates.random
        if compared and each < 2:
            raise InvalidInput(
                f"loss.{compared[0]}: compares the candidates of a query, and candidates gives {each} (with the positive); "
                "draw 2 or more"
            )
        if (wanted := self.start.imitate) is not None:
            if wanted not in [teacher.called for teacher in self.teachers if teacher.kind == "sparse"]:
                raise InvalidInput(
                    f"start.imitate: no sparse teacher is called {wanted!r}; name one, with weight 0 if need be"
                )
            document = self.document
            if document.kind != "mlm" or document.pooling != "max" or document.importance or document.quality:
                raise InvalidInput(
                    "start.imitate: is for documents of kind mlm with max pooling, without importance or quality"
                )
        for first, last, count in self.candidates.strata:
            if not 1 <= first <= last <= self.candidates.depth or not 0 <= count <= last - first + 1:
                raise InvalidInput(
                    f"candidates.strata: [{first}, {last}, {count}] is no stratum of ranks 1 to {self.candidates.depth}: "
                    "first rank, last rank, how many of them"
                )

    def _check_kinds(self) -> None:
        several = [side.kind == MULTIVECTOR for side in (self.query, self.document)]
        if not any(several):
            if self.document.dim is not None:
                raise InvalidInput("document.dim: is for multivector; the terms of a sparse encoder are its vocabulary")
            return
        if not all(several):
            raise InvalidInput("query.kind and document.kind: multivector must be both or none")
        for part, names in OF_TERMS.items():
            told = getattr(self, part)
            for name in names:
                if getattr(told, name) != getattr(type(told)(), name):
                    raise InvalidInput(
                        f"{part}.{name}: is about terms, which a multivector model has none of; leave it out"
                    )
        if self.start.mlm_steps:
            raise InvalidInput(
                "start.mlm_steps: trains a vocabulary head, which a multivector model has not; leave it out"
            )
        if self.regularizers:
            raise InvalidInput("regularizers: are about terms; for a multivector model write regularizers: []")
        if self.loss.term_recall:
            raise InvalidInput("loss.term_recall: is about terms, which a multivector model has none of; leave it out")

    def path(self, name: str) -> Path:
        """A file of the recipe."""
        return self.folder / Path(name).expanduser()

    def model(self, name: str) -> str:
        """A model's name: a bundled encoder, the folder beside the recipe when there is one, otherwise the name."""
        if name in BUNDLED:
            return name
        found = self.path(name)
        return str(found) if found.exists() else name


def read_recipe(path: str | Path) -> Recipe:
    """The recipe of a YAML file. Raises `InvalidInput` with the file, the key and the nearest name of one that is unknown."""
    file = Path(path)
    return recipe_from(read_yaml(file), where=str(file), folder=file.parent)


def recipe_from(values: Any, *, where: str = "recipe", folder: Path | None = None) -> Recipe:
    """The recipe that a mapping describes; paths in it are relative to `folder`."""
    recipe: Recipe = from_mapping(Recipe, values, where, folder=folder or Path())
    return recipe
