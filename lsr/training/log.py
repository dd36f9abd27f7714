"""The log of a training: lines of JSON, and the same numbers for TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lsr import disk

__all__ = ["Log"]

# Of an evaluation, what is a number that goes up or down.
FIGURES = ("ndcg", "nnz", "nnz_p50", "nnz_p95", "flops", "document_flops", "longest_list", "vectors")


class Log:
    """`log.jsonl` in a folder, and beside it the event files of TensorBoard in `tensorboard/`, where its package is there.

    Each line is on disk when it was written, in both forms.
    """

    def __init__(self, folder: Path) -> None:
        self._lines, self._events = folder / "log.jsonl", folder / "tensorboard"
        self._writer: Any = None
        self._purged: int | None = None  # from this step on, what earlier event files have is void

    def write(self, line: Mapping[str, Any]) -> None:
        """A line with its `step`: figures of training, or an `evaluation`."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._writer is None:
            self._writer = _writer(self._events, self._purged)
        if self._writer:
            for tag, value in _scalars(line):
                self._writer.add_scalar(tag, value, line["step"])
            self._writer.flush()

    def forget_after(self, step: int) -> None:
        """Takes out what comes after a step, the one of a checkpoint: it is done again."""
        self.close()
        self._purged = step + 1
        if not self._lines.is_file():
            return
        kept = []
        for line in self._lines.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):  # the last one, cut off
                continue
        with disk.atomic_write(self._lines) as file:
            file.write("".join(kept).encode())

    def copy(self, model: Path) -> None:
        """Puts it into the folder of a model: training_log.jsonl, and tensorboard/ where there are events."""
        self.close()
        disk.write_new(model / "training_log.jsonl", self._lines.read_bytes())
        if self._events.is_dir():
            disk.make_folder(model / self._events.name)
            for path in sorted(self._events.iterdir()):
                disk.write_new(model / self._events.name / path.name, path.read_bytes())

    def close(self) -> None:
        """Ends the file of events; another line begins a new one."""
        if self._writer:
            self._writer.close()
        self._writer = None


def _writer(folder: Path, purged: int | None) -> Any:
    """A writer of events, or False without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    return SummaryWriter(str(folder), purge_step=purged)


def _scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The curves that a line has a point of."""
    found = line.get("evaluation")
    if found is not None:
        for name in FIGURES:
            if name in found:
                yield f"evaluation/{name}", found[name]
        for kind, value in found["kinds"].items():
            yield f"evaluation/ndcg/{kind}", value
        return
    for name, value in line.items():
        if isinstance(value, list):
            yield from ((f"training/{name}_{i}", one) for i, one in enumerate(value))
        elif name not in ("step", "seconds"):
            yield f"training/{name}", value
