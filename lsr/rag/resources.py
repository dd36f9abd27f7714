"""What stages work with: models, indexes, a generator of text, prompt templates, a counter of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lsr.errors import InvalidInput
from lsr.rag.generators.base import Generator, Reply, Request
from lsr.rag.templates import Templates
from lsr.rag.types import Failure

if TYPE_CHECKING:
    from lsr.rag.stages.base import Stage

__all__ = ["Resources"]


class Resources:
    """Models are opened when they are first used, once each."""

    def __init__(self, *, generator: Generator | None = None, prompts: Templates | None = None) -> None:
        self.generator = generator
        self.prompts = prompts or Templates()

    def ask(self, stage: Stage, requests: Sequence[Request]) -> list[Reply | Failure]:
        """What the generator writes. Raises `InvalidInput` where there is none."""
        if self.generator is None:
            raise InvalidInput(f"{stage.name} needs a generator: name one (generator: in the YAML)")
        replies = self.generator.generate(requests)
        return [replace(reply, stage=stage.name) if isinstance(reply, Failure) else reply for reply in replies]

    def generator_identity(self) -> Mapping[str, Any] | None:
        return None if self.generator is None else self.generator.identity()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Sizes of texts in tokens of the bundled encoder's tokenizer."""
        raise NotImplementedError

    def fingerprint(self, stage: Stage, field: str) -> str:
        """A hash of the model that a field of a stage names."""
        raise NotImplementedError
