"""Progress of long work, on stderr, for people at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["showing_progress"]


@contextmanager
def showing_progress(total_documents: int | None = None) -> Iterator[Callable[[str, int, int | None], None]]:
    """Gives a progress function (stage, done, total) that draws one bar a stage; silent when stderr is no terminal.

    total_documents: how many there will be in stages that do not know it themselves.
    """
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    tasks = {}

    def show(stage: str, done: int, total: int | None) -> None:
        if stage not in tasks:
            tasks[stage] = bar.add_task(stage, total=total or total_documents, rate="")
        task = tasks[stage]
        bar.update(task, completed=done, total=total or total_documents)
        elapsed = bar.tasks[task].elapsed or 0.0
        if done and elapsed > 1:
            bar.update(task, rate=f"{done / elapsed:,.0f}/s")

    with bar:
        yield show
