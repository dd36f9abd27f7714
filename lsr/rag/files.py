"""A pipeline with what it runs on, as one YAML file. A search writes its winner so, and `lsr rag run` reads it.

    corpus: docs/                    # what lsr.read_documents reads
    join: article_id                 # optional: documents with the same value of a field become one
    generator:                       # optional: what stages that write text ask
      kind: endpoint
      url: http://localhost:8000/v1
      model: my-model
    prompts: my-prompts/             # optional: templates in place of the built-in ones
    pipeline:
      chunk: {kind: sentences, words: 120}
      retrieve: fusion
      filter: {kind: top-k, k: 5}

Paths are relative to the folder of the file; names of models too, where there is such a folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from lsr import disk
from lsr.errors import InvalidInput, MissingExtra
from lsr.rag.generators.config import GeneratorConfig
from lsr.rag.pipeline import Pipeline, stage_as_data
from lsr.rag.stages.base import Stage
from lsr.schema import from_mapping, read_yaml

__all__ = [
    "PipelineFile",
    "Surroundings",
    "beside",
    "located",
    "read_pipeline",
    "read_surroundings",
    "surroundings_of",
    "with_located_models",
]


@dataclass(frozen=True)
class Surroundings:
    """What a pipeline runs on. device: of models that torch runs."""

    corpus: str | None = None
    join: str | None = None
    generator: GeneratorConfig | None = None
    prompts: str | None = None
    device: str | None = None

    def to_mapping(self) -> dict[str, Any]:
        """As YAML has it, without what is as by default."""
        given = {name: value for name, value in asdict(self).items() if value is not None and name != "generator"}
        if self.generator is not None:
            changed = {f.name: getattr(self.generator, f.name) for f in fields(self.generator)}
            given["generator"] = {
                f.name: changed[f.name] for f in fields(self.generator) if changed[f.name] != f.default
            }
        return given


@dataclass(frozen=True)
class PipelineFile:
    """A pipeline and its surroundings; paths that were read from a file are absolute."""

    pipeline: Pipeline
    surroundings: Surroundings

    def to_yaml(self, comment: str = "") -> str:
        """The text of the file; `comment` stands before it, line by line."""
        try:
            import yaml
        except ImportError:
            raise MissingExtra("pyyaml", "rag", "writing a pipeline") from None
        values = {**self.surroundings.to_mapping(), "pipeline": _short(self.pipeline)}
        lines = "".join(f"# {line}\n" for line in comment.splitlines())
        text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
        return lines + text

    def save(self, path: str | Path, comment: str = "") -> None:
        """Raises `StorageError`."""
        with disk.atomic_write(Path(path)) as file:
            file.write(self.to_yaml(comment).encode())


def read_pipeline(path: str | Path) -> PipelineFile:
    """Raises `InvalidInput` that names file and key, with the nearest names; `MissingExtra` without PyYAML."""
    path = Path(path)
    values = read_yaml(path, "pipeline", "rag")
    if not isinstance(values, Mapping) or "pipeline" not in values:
        raise InvalidInput(f"{path}: has no 'pipeline': a mapping of families to stages; see docs/rag.md")
    rest = {name: value for name, value in values.items() if name != "pipeline"}
    pipeline = Pipeline.from_mapping(values["pipeline"], f"{path}: pipeline")
    stages = [with_located_models(stage, path.parent) for stage in pipeline.stages]
    return PipelineFile(Pipeline(stages), surroundings_of(rest, path))


def read_surroundings(path: str | Path) -> Surroundings:
    """Those of a file of a pipeline or a search, which may have no more than them. Raises as `read_pipeline`."""
    path = Path(path)
    values = read_yaml(path, "configuration", "rag")
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{path}: must be a mapping; see docs/rag.md")
    names = {field.name for field in fields(Surroundings)}
    return surroundings_of({name: value for name, value in values.items() if name in names}, path)


def surroundings_of(values: Mapping[str, Any], path: Path) -> Surroundings:
    """Of what a YAML holds beside its stages; paths become absolute."""
    read = from_mapping(Surroundings, values, str(path))
    assert isinstance(read, Surroundings)
    generator = read.generator
    if generator is not None and generator.kind == "local":
        generator = replace(generator, model=located(generator.model, path.parent))
    corpus = None if read.corpus is None else beside(read.corpus, path.parent)
    prompts = None if read.prompts is None else beside(read.prompts, path.parent)
    return replace(read, corpus=corpus, prompts=prompts, generator=generator)


def located(name: str, folder: Path) -> str:
    """The name of a model, or its path where there is such a folder beside the file."""
    place = Path(beside(name, folder))
    return str(place) if disk.exists(place) else name


def with_located_models(stage: Stage, folder: Path) -> Stage:
    """A stage whose models may be named by paths relative to a folder."""
    names = {name: getattr(stage, name) for name in stage.models}
    found = {name: located(value, folder) for name, value in names.items() if value is not None}
    return replace(stage, **found) if found else stage


def beside(path: str, folder: Path) -> str:
    """An absolute path: what a file names is also written to others, in other folders."""
    return os.path.normpath(Path.cwd() / folder / Path(path).expanduser()) if path != "-" else path


def _short(pipeline: Pipeline) -> dict[str, Any]:
    """The stages, one without parameters as its name alone."""
    written = {stage.family: stage_as_data(stage) for stage in pipeline.stages}
    return {family: values["kind"] if len(values) == 1 else values for family, values in written.items()}
