"""The tables of a search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lsr.eval.report import formats as f
from lsr.eval.report.table import Cell, Column, Standing, Table, without_empty_columns
from lsr.eval.report.texts import short
from lsr.rag.report.plots import BASELINE_STYLE, WINNER_STYLE
from lsr.rag.report.view import COMPLETE, EffectView, PipelineView, QuestionView, SplitView, StudyView, UseView

__all__ = [
    "Roles",
    "budget_table",
    "by_family",
    "choices_table",
    "effects_table",
    "facts_table",
    "interactions_table",
    "judged_table",
    "leaderboard",
    "questions_table",
    "splits_table",
]

LEADERS = 20  # pipelines of the leaderboard, beside winner, baseline, simplest and the front
SHOWN = 10  # questions at each end
INTERACTIONS = 15


def _column(name: str) -> Column:
    return Column(name, number=False)


def leaderboard(study: StudyView) -> Table:
    """The best complete pipelines by quality on the search questions."""
    complete = [p for p in study.pipelines if p.state == COMPLETE and p.quality is not None]
    complete.sort(key=lambda p: (-(p.quality or 0), p.latency_ms or 0, p.name))
    named = {study.winner, study.baseline, study.simplest}
    shown = [(i, p) for i, p in enumerate(complete, 1) if i <= LEADERS or p.name in named or p.front]
    baseline = study.pipeline(study.baseline)
    rows = [
        [
            _pipeline_cell(study, p),
            Cell(f.count(rank)),
            Cell(f.score(p.quality), detail=f.interval(p.interval) if p.interval else ""),
            Cell(f.milliseconds(p.latency_ms)),
            Cell(f.whole(p.tokens)),
            Cell(f.decimal(p.cost)),
            Cell("yes" if p.front else ""),
            Cell(_stages(p, baseline)),
        ]
        for rank, p in shown
    ]
    columns = [
        _column("pipeline"),
        *map(Column, ("rank", study.quality, "p95", "tokens", "cost")),
        _column("on the front"),
        _column("stages that the baseline has not"),
    ]
    states = Counter(p.state for p in study.pipelines)
    others = ", ".join(f"{f.count(many)} {state}" for state, many in states.items() if state != COMPLETE)
    notes = [
        f"{f.counted(len(complete), 'pipeline')} answered all search questions"
        + (f"; {others}." if others else ".")
        + " These figures chose the winner, so the first of them looks better than it is: the holdout says how good it is."
    ]
    return without_empty_columns(Table("The best pipelines on the search questions", columns, rows, notes))


def judged_table(study: StudyView) -> Table | None:
    """Answers compared in pairs by a judge."""
    if not study.judged:
        return None
    rows = [
        [
            Cell(one.system),
            Cell(one.opponent),
            Cell(f.count(one.wins)),
            Cell(f.count(one.losses)),
            Cell(f.count(one.ties)),
            Cell(f.count(one.missing)),
            Cell(f.score(one.win_rate), detail=f.interval(one.interval) if one.interval else ""),
            Cell(f.p_value(one.p)),
            Cell(f"{f.count(one.flipped)} of {f.count(one.checked)}"),
        ]
        for one in study.judged
    ]
    names = ("wins", "losses", "ties", "no verdict", "share of wins", "p, one-sided", "flipped with the order")
    columns = [_column("pipeline"), _column("against"), *map(Column, names)]
    notes = [f"Judge: {study.judge}. Without a verdict is missing data, and counts for neither."]
    if study.informativeness is not None:
        notes.append(f"It told pipelines apart on a share of {f.score(study.informativeness)} of the questions.")
    return Table("Answers to the holdout questions, compared in pairs", columns, rows, notes)


def _stages(p: PipelineView, baseline: PipelineView | None) -> str:
    """What a pipeline has and the baseline has not, and "none" where it lacks a stage; a stage stays in one line."""
    theirs = {} if baseline is None else dict(baseline.choice)
    ours = {**dict.fromkeys(theirs, "none"), **dict(p.choice)}
    parts = [f"{family}: {option}" for family, option in ours.items() if theirs.get(family, "none") != option]
    return "; ".join(part.replace(" ", "\u00a0") for part in parts)


def _pipeline_cell(study: StudyView, p: PipelineView) -> Cell:
    roles = [
        role
        for role, name in (("winner", study.winner), ("baseline", study.baseline), ("simplest", study.simplest))
        if p.name == name
    ]
    system = 1 if p.name == study.winner else 0 if p.name == study.baseline else None
    return Cell(p.name, detail=", ".join(roles), system=system)


class Roles:
    """The colours of winner and baseline in tables and plots."""

    def __init__(self, study: StudyView) -> None:
        self.names = [study.baseline, study.winner]

    def style(self, index: int) -> int:
        return (BASELINE_STYLE, WINNER_STYLE)[index]


def splits_table(study: StudyView) -> Table:
    """Winner beside baseline on the questions of both parts."""
    rows = []
    for name, split in (("holdout", study.holdout), ("search", study.search)):
        rows.append(
            [
                Cell(name, detail=f.counted(len(split.questions), "question")),
                Cell(f.score(split.winner), detail=_within(split.winner_interval)),
                Cell(f.score(split.baseline), detail=_within(split.baseline_interval)),
                Cell(
                    f.signed(split.difference),
                    detail=_within(split.interval, sign=True),
                    standing=_standing(split.interval),
                ),
                Cell(f.p_value(split.p)),
                Cell(f.signed(split.corrected)),
            ]
        )
    columns = [_column("questions"), *map(Column, ("winner", "baseline", "difference", "p", "corrected for selection"))]
    notes = ["Nothing was chosen by the holdout questions. The winner was chosen by the search questions."]
    return without_empty_columns(Table(f"{study.quality}, winner and baseline", columns, rows, notes))


def _within(interval: tuple[float, float] | None, *, sign: bool = False) -> str:
    return f.interval(interval, sign=sign) if interval is not None else ""


def _standing(interval: tuple[float, float] | None) -> Standing | None:
    if interval is None or interval[0] <= 0 <= interval[1]:
        return None
    return "better" if interval[0] > 0 else "worse"


def effects_table(study: StudyView) -> Table | None:
    """All effects; those that cannot be told are in it."""
    if not study.effects:
        return None
    before: str | None = None
    rows = []
    for effect in study.effects:
        first = effect.family != before
        before = effect.family
        rows.append(
            [
                Cell(effect.family if first else "", detail=f"beside {effect.reference}" if first else ""),
                Cell(effect.option),
                Cell(f.signed(effect.difference), standing=_standing(effect.interval)),
                Cell(f.interval(effect.interval, sign=True)),
                Cell(f.count(effect.pipelines)),
            ]
        )
    columns = [_column("family"), _column("option"), *map(Column, ("effect", "95 % interval", "pipelines"))]
    notes = (
        f"What an option changes in {study.quality} beside the reference of its family, everything else alike, over the "
        f"pipelines that were evaluated. {f.NONE}: they cannot tell. ▲ ▼: the interval does not hold 0.",
    )
    return Table("Effects of options", columns, rows, notes)


def interactions_table(study: StudyView) -> Table | None:
    """The largest interactions."""
    if not study.interactions:
        return None
    several = sorted(study.interactions, key=lambda one: -abs(one.difference))
    rows = [
        [
            Cell(one.first),
            Cell(one.second),
            Cell(f.signed(one.difference), standing=_standing(one.interval)),
            Cell(f.interval(one.interval, sign=True)),
            Cell(f.count(one.pipelines)),
        ]
        for one in several[:INTERACTIONS]
    ]
    columns = [_column("option"), _column("with"), *map(Column, ("together", "95 % interval", "pipelines"))]
    left = len(several) - len(rows)
    notes = ["What both change together beyond the sum of what each does alone."]
    if left:
        notes.append(f"{f.count(left)} smaller ones are in report.json.")
    return Table("Interactions", columns, rows, notes)


def questions_table(study: StudyView, split: SplitView) -> Table | None:
    """The questions that gained and lost most; None where winner and baseline are one pipeline, or no question moved."""
    moved = sorted(
        (q for q in split.questions if q.winner is not None and q.baseline is not None and q.winner != q.baseline),
        key=lambda q: (-_gain(q), q.id),
    )
    if study.winner == study.baseline or not moved:
        return None
    ends = moved if len(moved) <= 2 * SHOWN else [*moved[:SHOWN], *moved[-SHOWN:]]
    rows = [
        [
            Cell(short(q.text or q.id, 160), detail=q.id if q.text else ""),
            Cell(q.group or ""),
            Cell(f.score(q.winner)),
            Cell(f.score(q.baseline)),
            Cell(f.signed(_gain(q))),
        ]
        for q in ends
    ]
    columns = [_column("question"), _column("group"), *map(Column, ("winner", "baseline", "difference"))]
    failed = sum(q.winner is None or q.baseline is None for q in split.questions)
    notes = []
    if len(ends) < len(moved):
        notes.append(f"The {SHOWN} that gained and the {SHOWN} that lost most; report.json has all.")
    if failed:
        notes.append(
            f"{f.counted(failed, 'question')} failed in one of the two, and {'is' if failed == 1 else 'are'} in no figure."
        )
    return without_empty_columns(Table("Questions that changed most", columns, rows, notes))


def _gain(question: QuestionView) -> float:
    return (question.winner or 0.0) - (question.baseline or 0.0)


def choices_table(study: StudyView) -> Table:
    """The stages of winner, baseline and simplest, family by family."""
    names = list(dict.fromkeys(name for name in (study.winner, study.simplest, study.baseline) if name is not None))
    chosen = {name: dict(found.choice) for name in names if (found := study.pipeline(name)) is not None}
    families = list(dict.fromkeys(family for choice in chosen.values() for family in choice))
    rows = []
    for family in families:
        options = [choice.get(family, "none") for choice in chosen.values()]
        differ = len(set(options)) > 1
        rows.append([Cell(family), *(Cell(option, strong=differ and i == 0) for i, option in enumerate(options))])
    columns = [_column("family"), *(_column(_called(study, name)) for name in chosen)]
    return Table(
        "Stages", columns, rows, ["Bold: what the winner has that another has not."] if len(chosen) > 1 else []
    )


def _called(study: StudyView, name: str) -> str:
    if name == study.winner:
        return f"winner ({name})"
    return f"baseline ({name})" if name == study.baseline else f"simplest ({name})"


def budget_table(study: StudyView) -> Table:
    """What was used, what was allowed, and what the cache saved."""
    budget = study.budget
    pairs = [
        (use.what, _amount(use, use.used) + (f" of {_amount(use, use.limit)}" if use.limit is not None else ""))
        for use in budget.uses
    ]
    if budget.stage_runs is not None and budget.stage_uses is not None:
        times = f", {f.decimal(budget.stage_uses / budget.stage_runs)} × fewer" if budget.stage_runs else ""
        pairs.append(
            ("stage runs", f"{f.count(budget.stage_runs)} of {f.count(budget.stage_uses)} without the cache{times}")
        )
    if budget.hit_rate is not None:
        pairs.append(("cache hit rate", f"{100 * budget.hit_rate:.1f} %"))
    if study.legal is not None:
        pairs.append(("legal pipelines", f"{f.count(study.legal)}, {f.count(len(study.pipelines))} of them evaluated"))
    return _facts("Budget", [*pairs, ("ended because", budget.stopped)])


def _amount(use: UseView, value: float) -> str:
    if use.unit == "s":
        return f.seconds(value)
    return f"{f.whole(value)} {use.unit}".strip()


def facts_table(study: StudyView) -> Table:
    """How it was done."""
    return _facts("How it was done", [("made", f.day(study.created)), ("lsr", study.lsr_version), *study.facts])


def _facts(caption: str, pairs: Sequence[tuple[str, str]]) -> Table:
    return Table(caption, (_column("fact"), _column("value")), [[Cell(name), Cell(value)] for name, value in pairs])


def by_family(effects: Sequence[EffectView]) -> dict[str, list[EffectView]]:
    """Effects by family, in their order."""
    found: dict[str, list[EffectView]] = {}
    for effect in effects:
        found.setdefault(effect.family, []).append(effect)
    return found
