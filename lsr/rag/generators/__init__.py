"""What writes text: endpoints, local models, functions; with replies kept on the disk, and a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lsr.rag.generators.accounting import Adjusted, Budget, Budgeted, Prices
    from lsr.rag.generators.base import Generator, Message, Reply, Request
    from lsr.rag.generators.config import GeneratorConfig, open_generator
    from lsr.rag.generators.endpoint import Endpoint
    from lsr.rag.generators.function import FunctionGenerator
    from lsr.rag.generators.local import LocalModel
    from lsr.rag.generators.replies import CachedGenerator, Replies

__all__ = [
    "Adjusted",
    "Budget",
    "Budgeted",
    "CachedGenerator",
    "Endpoint",
    "FunctionGenerator",
    "Generator",
    "GeneratorConfig",
    "LocalModel",
    "Message",
    "Prices",
    "Replies",
    "Reply",
    "Request",
    "open_generator",
]

# Names are handed on lazily: what one generator needs is not loaded for another.
_HOME = {
    "Adjusted": "accounting",
    "Budget": "accounting",
    "Budgeted": "accounting",
    "CachedGenerator": "replies",
    "Endpoint": "endpoint",
    "FunctionGenerator": "function",
    "Generator": "base",
    "GeneratorConfig": "config",
    "LocalModel": "local",
    "Message": "base",
    "Prices": "accounting",
    "Replies": "replies",
    "Reply": "base",
    "Request": "base",
    "open_generator": "config",
}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'lsr.rag.generators' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lsr.rag.generators.{home}"), name)
