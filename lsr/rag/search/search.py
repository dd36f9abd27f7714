"""A search from its YAML to its verdict: data, split, study, holdout, report, and the winner as a file.

    search = read_search("search.yaml")
    found = search_pipelines(search, "study", progress=print)
    print(found.view.verdict, found.winner)

The folder of a study:

    study.sqlite, LOCK     what was evaluated (lsr.rag.search.store)
    winner.yaml            the best pipeline on the search questions; lsr rag run runs it
    simplest.yaml          that with the fewest stages within noise of it
    report.json, report.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lsr.errors import InvalidInput
from lsr.rag.evaluating import EVIDENCE, PipelineEvaluator
from lsr.rag.files import PipelineFile
from lsr.rag.generators import open_generator
from lsr.rag.judging.anchor import Judging
from lsr.rag.judging.judge import PairJudge
from lsr.rag.pipeline import Pipeline, read_stage
from lsr.rag.questions import RagData
from lsr.rag.rag import open_resources, open_stages
from lsr.rag.report import StudyView, write_report
from lsr.rag.runner import Runner
from lsr.rag.search.algorithms import fitness
from lsr.rag.search.budget import Estimate, estimate
from lsr.rag.search.config import SearchConfig, as_choice
from lsr.rag.search.evaluated import Objectives
from lsr.rag.search.judged import BASELINE
from lsr.rag.search.judged import judged as compared
from lsr.rag.search.racing import COMPLETE
from lsr.rag.search.selection import Simplest, Split, Verdict, simplest, split
from lsr.rag.search.store import Record
from lsr.rag.search.study import Ended, Study
from lsr.rag.search.view import study_view
from lsr.rag.stages.base import FAMILIES

__all__ = ["Found", "Search", "open_search", "pipeline_of", "search_pipelines"]


@dataclass(frozen=True)
class Search:
    """A search that is ready to run: what it works with, opened."""

    config: SearchConfig
    data: RagData
    split: Split
    objectives: Objectives
    runner: Runner
    evaluator: PipelineEvaluator
    cache: str | Path | None

    def estimate(self) -> Estimate:
        """What it will take, from the baseline on a few questions. Raises `InvalidInput` for a budget too small for one."""
        found = estimate(
            self.config.space, self.evaluator, as_choice(self.config.baseline), self.split.search, self.config.budget
        )
        found.check(self.config.budget)
        return found


@dataclass(frozen=True)
class Found:
    """What a search found. winner, simplest: as files that `lsr rag run` runs."""

    ended: Ended
    verdict: Verdict
    winner: PipelineFile
    simplest: PipelineFile
    view: StudyView


@contextmanager
def open_search(config: SearchConfig, cache: str | Path | None = None) -> Iterator[Search]:
    """Opens data, models and generator of a search. cache: a folder, shared by studies, in which indexes, results of
    stages and replies are kept.

    Raises `EvaluationError` for gold that is not in the corpus or questions without what the objectives need,
    `GeneratorError` for an endpoint that is down, and as readers and models do.
    """
    data = config.open_data()
    objectives = config.objectives(data)
    _check_questions(data, objectives)
    with ExitStack() as stack:
        resources = stack.enter_context(open_resources(config.surroundings, cache))
        check = getattr(resources.generator, "check", None)
        if check is not None:
            check()
        stages = open_stages(cache)
        if stages is not None:
            stack.callback(stages.close)
        runner = Runner(data.documents, resources, stages)
        evaluator = PipelineEvaluator(
            runner, data, tokens=config.plain.tokens, generate=any(name not in EVIDENCE for name in objectives.quality)
        )
        types = {question.id: question.type or _hops(question.hops) for question in data.questions}
        parts = split(types, holdout=config.plain.holdout, seed=config.plain.seed)
        yield Search(config, data, parts, objectives, runner, evaluator, cache)


def search_pipelines(
    search: Search,
    folder: str | Path,
    *,
    resume: bool = False,
    workers: int | None = None,
    progress: Callable[[str, int, int | None], None] = lambda stage, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> Found:
    """Runs a search in a folder, and writes the winner and the report there. say: told what is to be known before judging.

    On KeyboardInterrupt all that is finished is kept; with `resume` it goes on, and ends as it would have. Raises as
    `Study.run` and `verdict` do.
    """
    config, folder = search.config, Path(folder)
    study = Study(
        folder,
        space=config.space,
        evaluator=search.evaluator,
        questions=search.split.search,
        baseline=as_choice(config.baseline),
        objectives=search.objectives,
        algorithm=config.algorithm,
        settings=config.settings,
        seed=config.plain.seed,
        known=[as_choice(pipeline) for pipeline in config.known],
        racing=config.racing,
        about={"evaluation": search.evaluator.identity(), "holdout": list(search.split.holdout)},
    )
    total = config.budget.pipelines

    def finished(record: Record) -> None:
        progress("pipelines", record.number + 1, total)

    ended = study.run(config.budget, workers=workers or config.plain.workers, resume=resume, progress=finished)
    progress("holdout", 0, 1)
    judged = study.judge(ended, search.split.holdout, seed=config.plain.seed)
    progress("holdout", 1, 1)
    verdicts = _judged(search, ended, say) if config.judge is not None else None
    plainest = simplest(ended.records, search.objectives, search.split.search, seed=config.plain.seed)
    return _written(search, folder, ended, judged, plainest, verdicts)


def pipeline_of(record: Record) -> Pipeline:
    """The pipeline of a candidate of a study."""
    stages = (read_stage(family, record.choice.get(family), family) for family in FAMILIES)
    return Pipeline(stage for stage in stages if stage is not None).complete()


def _judged(search: Search, ended: Ended, say: Callable[[str], None]) -> tuple[str, Judging]:
    """The best pipelines and the baseline, compared by the judge: its name, and the verdicts."""
    config = search.config.judge
    assert config is not None
    resources, cache = search.runner.resources, search.cache
    generator = resources.generator
    if config.generator is not None:
        generator = open_generator(config.generator, cache, counter=resources.count_tokens)
    assert generator is not None
    complete = [record for record in ended.records if record.state == COMPLETE and record.number]
    complete.sort(key=lambda record: (fitness(record.values or ()), -record.number), reverse=True)
    pipelines = {BASELINE: pipeline_of(ended.records[0])}
    pipelines |= {f"#{record.number}": pipeline_of(record) for record in complete[: config.pipelines]}
    holdout = set(search.split.holdout)
    judge = PairJudge(generator, resources.prompts, flips=config.flips, seed=search.config.plain.seed)
    return generator.name, compared(
        search.runner,
        judge,
        pipelines,
        [question for question in search.data.questions if question.id in holdout],
        baseline=BASELINE if config.against == BASELINE else None,
        say=say,
    )


def _written(
    search: Search,
    folder: Path,
    ended: Ended,
    judged: Verdict,
    plainest: Simplest,
    verdicts: tuple[str, Judging] | None,
) -> Found:
    config = search.config
    surroundings = config.surroundings
    if surroundings.corpus is None:
        surroundings = replace(surroundings, corpus=config.plain.data)
    winner = PipelineFile(pipeline_of(ended.winner), surroundings)
    plain = PipelineFile(pipeline_of(plainest.record), surroundings)
    view = study_view(search, ended, judged, plainest, winner, verdicts)
    winner.save(folder / "winner.yaml", f"Candidate {ended.winner.number} of a search: {judged.statement}.")
    plain.save(folder / "simplest.yaml", f"Candidate {plainest.record.number} of a search: within noise of the best.")
    write_report(view, folder)
    return Found(ended, judged, winner, plain, view)


def _check_questions(data: RagData, objectives: Objectives) -> None:
    for name in objectives.quality:
        if name in EVIDENCE or name.partition("@")[0] in EVIDENCE:
            data.require_gold()
        else:
            data.require_answers()
    if len(data.questions) < 4:
        raise InvalidInput(
            f"{data.name}: {len(data.questions)} questions are too few to search by; 50 show large gains"
        )


def _hops(hops: int | None) -> str | None:
    return None if hops is None else f"{hops} hops"
