"""The generator that a mapping of YAML names.

generator:
  kind: endpoint
  url: http://localhost:8000/v1
  model: Qwen/Qwen2.5-7B-Instruct
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from lsr.errors import InvalidInput
from lsr.rag.generators.accounting import Adjusted, Budget, Budgeted, Prices
from lsr.rag.generators.base import Generator
from lsr.rag.generators.texts import TokenCounter
from lsr.schema import between, choice

__all__ = ["GeneratorConfig", "open_generator"]

# Fields that only one kind has; those of endpoints but for the url and prices.
_ENDPOINT = ("key_env", "timeout_s", "retries", "backoff_s", "concurrency", "stream", "tokens_field")
_LOCAL = ("gguf_file", "device", "precision", "batch")


@dataclass(frozen=True)
class GeneratorConfig:
    """kind "endpoint": url and the name of its model; "local": model is the folder of one of transformers.

    What else there is, is described at `Endpoint` and `LocalModel`. price_in, price_out: of a million tokens. max_context:
    tokens that the model reads. temperature: in place of what stages ask for. thinking_tokens: what a reasoning model may
    write beside what stages ask for. cache_sampled: keep replies of a temperature above 0 too. budget_tokens, budget_cost:
    what all calls may take together.
    Raises `InvalidInput` where a value is of the other kind.
    """

    kind: str = field(metadata=choice("endpoint", "local"))
    model: str
    url: str | None = None
    key_env: str = "OPENAI_API_KEY"
    timeout_s: float = field(default=60.0, metadata=between(0.01, 86_400))
    retries: int = field(default=4, metadata=between(0, 100))
    backoff_s: float = field(default=1.0, metadata=between(0, 600))
    concurrency: int = field(default=8, metadata=between(1, 1024))
    stream: bool = False
    tokens_field: str = field(default="max_tokens", metadata=choice("max_tokens", "max_completion_tokens"))
    price_in: float = field(default=0.0, metadata=between(0, 1e9))
    price_out: float = field(default=0.0, metadata=between(0, 1e9))
    gguf_file: str | None = None
    device: str | None = None
    precision: str | None = field(default=None, metadata=choice("fp32", "bf16", "fp16"))
    batch: int = field(default=4, metadata=between(1, 4096))
    max_context: int | None = field(default=None, metadata=between(16, 1e9))
    temperature: float | None = field(default=None, metadata=between(0, 10))
    thinking_tokens: int = field(default=0, metadata=between(0, 1e6))
    seed: int | None = field(default=None, metadata=between(0, 2**31))
    cache_sampled: bool = True
    budget_tokens: int | None = field(default=None, metadata=between(0, 1e15))
    budget_cost: float | None = field(default=None, metadata=between(0, 1e12))

    def __post_init__(self) -> None:
        if self.kind == "endpoint" and self.url is None:
            raise InvalidInput("an endpoint needs a url, as http://localhost:8000/v1")
        others = _LOCAL if self.kind == "endpoint" else ("url", "price_in", "price_out", *_ENDPOINT)
        for one in fields(self):
            if one.name in others and getattr(self, one.name) != one.default:
                raise InvalidInput(f"{one.name} says nothing of a generator of kind {self.kind!r}; leave it out")
        if self.budget_cost is not None and not (self.price_in or self.price_out):
            raise InvalidInput("budget_cost needs price_in or price_out: without them nothing costs anything")

    @property
    def prices(self) -> Prices:
        return Prices(self.price_in, self.price_out)


def open_generator(
    config: GeneratorConfig,
    cache_folder: str | Path | None = None,
    *,
    budget: Budget | None = None,
    counter: TokenCounter | None = None,
) -> Generator:
    """What a configuration names, within its budget, with its replies kept in a folder where one is given.

    budget: one that several generators share, in place of the configuration's. counter: counts tokens where the generator
    does not. Nothing is asked, and no model read, before it is used. Raises as `Endpoint` and `LocalModel` do.
    """
    generator: Generator
    if config.kind == "endpoint":
        from lsr.rag.generators.endpoint import Endpoint

        assert config.url is not None
        same = {name: getattr(config, name) for name in _ENDPOINT}
        generator = Endpoint(
            config.url,
            config.model,
            prices=config.prices,
            context=config.max_context,
            seed=config.seed,
            counter=counter,
            **same,
        )
    else:
        from lsr.rag.generators.local import LocalModel

        same = {name: getattr(config, name) for name in _LOCAL}
        generator = LocalModel(config.model, context=config.max_context, seed=config.seed or 0, **same)
    if budget is None and (config.budget_tokens is not None or config.budget_cost is not None):
        budget = Budget(config.budget_tokens, config.budget_cost)
    if budget is not None:
        generator = Budgeted(generator, budget, prices=config.prices, counter=counter)
    if config.temperature is not None or config.thinking_tokens:
        generator = Adjusted(generator, temperature=config.temperature, thinking_tokens=config.thinking_tokens)
    if cache_folder is not None:
        from lsr.rag.generators.replies import CachedGenerator, Replies

        # Outermost: what is known costs nothing.
        generator = CachedGenerator(generator, Replies(cache_folder), sampled=config.cache_sampled)
    return generator
