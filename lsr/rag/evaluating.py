"""What a pipeline is worth on questions: measures of the evidence it gives, and of its answers, question by question.

Evidence is measured as the generator gets it, best first: pieces that did not fit into the prompt are left out, and only
those count that fit into `tokens` together. So pipelines with other chunks, neighbours or summaries are compared at equal
size.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import lsr
from lsr.errors import InvalidInput, LsrError
from lsr.rag.judging.answers import exact_match, lexical_support, rouge_l, token_f1, without_citations
from lsr.rag.judging.similarity import Similarity, SparseSimilarity, answer_similarity
from lsr.rag.judging.spans import span_scores
from lsr.rag.pipeline import Pipeline
from lsr.rag.questions import Question, RagData
from lsr.rag.runner import Outcome, Runner
from lsr.rag.search.evaluated import Evaluated, Measured
from lsr.rag.stages.base import FAMILIES, Evidence
from lsr.rag.types import Failure, Usage

__all__ = ["ANSWERS", "EVIDENCE", "PipelineEvaluator", "evidence_of"]

ANSWERS = "answers"
# Measures that need no answer, those at a cut-off by what stands before the "@".
EVIDENCE = frozenset(
    ("R", "AP", "nDCG", "RR", "FullChain", "retrieval", "density", "context tokens", "context characters")
)


class PipelineEvaluator:
    """Runs pipelines on questions and measures them.

    tokens: how much evidence counts. cutoffs: ranks at which recall, nDCG and full chains are told too, whatever the size.
    generate: whether answers are made and measured; similarity: of answers and right ones, the bundled encoder's by
    default.

    Of evidence: R, AP, nDCG, RR, FullChain, density, "context tokens", and `retrieval`, the mean of the first four. Of
    answers: EM, F1, ROUGE-L, the similarity by its name, support (the share of words that the evidence has, 0 for no
    answer), and `answers`, the mean of F1, ROUGE-L and similarity. A question without gold or answers has no measures of
    these.
    """

    def __init__(
        self,
        runner: Runner,
        data: RagData,
        *,
        tokens: int = 1000,
        cutoffs: Sequence[int] = (5,),
        generate: bool = True,
        similarity: Similarity | None = None,
    ) -> None:
        if tokens < 1:
            raise InvalidInput(f"tokens is {tokens}: it must be 1 or more")
        self.runner, self.data, self.tokens, self.cutoffs = runner, data, tokens, tuple(cutoffs)
        self.generate = generate
        self._similarity = similarity
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._questions = {question.id: question for question in data.questions}

    @property
    def similarity(self) -> Similarity:
        if self._similarity is None:
            self._similarity = SparseSimilarity(self.runner.resources.encoder())
        return self._similarity

    def identity(self) -> Mapping[str, Any]:
        """What figures depend on beside pipelines and questions."""
        about: dict[str, Any] = {
            "tokens": self.tokens,
            "cutoffs": list(self.cutoffs),
            "generate": self.generate,
            "data": self.data.key,
            "lsr": lsr.__version__,
        }
        resources = self.runner.resources
        if resources.generator is not None:
            prompts = {name: resources.prompts.fingerprint(name) for name in resources.prompts.own}
            about |= {"generator": resources.generator_identity(), "prompts": prompts}
        return {**about, "similarity": self.similarity.name} if self.generate else about

    def evaluate(self, stages: Mapping[str, Any], question_ids: Sequence[str]) -> Evaluated | Failure:
        """The measures of each question. A model that cannot be used, or a corpus that cannot be cut, is a `Failure` of the
        pipeline."""
        questions = [self._questions[id] for id in question_ids]
        try:
            pipeline = Pipeline(stage for stage in stages.values() if stage is not None).complete()
            texts = [question.text for question in questions]
            outcomes = self.runner.run(pipeline, texts, FAMILIES[-1] if self.generate else "prompt", timed=True)
            measured = self._measured(questions, outcomes)
        except LsrError as error:
            return Failure("pipeline", str(error))
        return Evaluated(dict(zip(question_ids, measured, strict=True)), self._preparation(pipeline))

    def _preparation(self, pipeline: Pipeline) -> Usage:
        """What making the passages of a pipeline consumed, told once for each set of passages."""
        key = self.runner.passages(pipeline).key
        with self._lock:
            if key in self._told:
                return Usage()
            self._told.add(key)
        return self.runner.preparation(pipeline)

    def _measured(self, questions: Sequence[Question], outcomes: Sequence[Outcome]) -> list[Measured | Failure]:
        alike = self._alike(questions, outcomes)
        measured: list[Measured | Failure] = []
        for at, (question, outcome) in enumerate(zip(questions, outcomes, strict=True)):
            if outcome.failure is not None:
                measured.append(outcome.failure)
                continue
            metrics = self._of_evidence(question, outcome)
            if at in alike:
                metrics |= self._of_answer(question, outcome, alike[at])
            used = outcome.usage
            measured.append(Measured(metrics, outcome.seconds, used.tokens_in + used.tokens_out, used.cost))
        return measured

    def _of_evidence(self, question: Question, outcome: Outcome) -> dict[str, float]:
        if not question.gold:
            return {}
        ranked = evidence_of(outcome)
        sizes = self.runner.resources.count_tokens([piece.content for piece in ranked])
        metrics = span_scores(question.gold, ranked, tokens=self.tokens, sizes=sizes).named()
        for k in self.cutoffs:
            at = span_scores(question.gold, ranked, k=k).named(f"@{k}")
            metrics |= {name: at[name] for name in (f"R@{k}", f"nDCG@{k}", f"FullChain@{k}")}
        return metrics

    def _of_answer(self, question: Question, outcome: Outcome, alike: float) -> dict[str, float]:
        assert outcome.answer is not None
        said = without_citations(outcome.answer.text)
        metrics = {
            "EM": exact_match(said, question.answers),
            "F1": token_f1(said, question.answers),
            "ROUGE-L": rouge_l(said, question.answers),
            self.similarity.name: alike,
        }
        metrics[ANSWERS] = (metrics["F1"] + metrics["ROUGE-L"] + alike) / 3
        support = lexical_support(said, () if outcome.prompt is None else outcome.prompt.context).words
        metrics["support"] = support or 0.0
        return metrics

    def _alike(self, questions: Sequence[Question], outcomes: Sequence[Outcome]) -> dict[int, float]:
        """The similarity of each answer, for all of a batch together, by its place."""
        places, said, right = [], [], []
        for at, (question, outcome) in enumerate(zip(questions, outcomes, strict=True)):
            if outcome.answer is not None and outcome.failure is None and question.answers:
                places.append(at)
                said.append(without_citations(outcome.answer.text))
                right.append(question.answers)
        if not places:
            return {}
        return dict(zip(places, answer_similarity(said, right, self.similarity).tolist(), strict=True))


def evidence_of(outcome: Outcome) -> Evidence:
    """The evidence that stands in the prompt, best first, whatever the order it is told in."""
    if outcome.prompt is None:
        return outcome.found
    return tuple(piece for piece in outcome.found if piece in outcome.prompt.context)
