"""Sides of a student as torch modules: token ids to the weights of all terms, float32 [B, V], with gradients.

The kinds are those of Nguyen et al. (2023), section 3: MLM and CLS-MLM (a vocabulary head over all positions or the
first), MLP (one weight a token), BINARY and IDF (tables), and Li-LSR's learned table.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lsr.training.head import activate, first_logits, pooled_logits, summed_activations
from lsr.training.recipe import DocumentSide, QuerySide
from lsr.training.start import Beginning

__all__ = ["LearnedTable", "Network", "Side", "Table", "TokenNetwork", "Transformer"]

# Terms at a time where each position has a factor of its own and nothing is fused.
TERMS_AT_A_TIME = 2048


class Side(nn.Module):
    """Texts as ids int64 [B, L] and lengths int64 [B] to weights float32 [B, V], none below 0.

    `keep` float32 [V] is 0 for terms that never leave the side.
    """

    dim: int
    keep: Tensor

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        raise NotImplementedError


class Transformer(nn.Module):
    """A transformers model whose decoder is taken out, so that it gives what the decoder would multiply, and its table
    beside it."""

    def __init__(self, beginning: Beginning, *, head: bool, precision: str, checkpoint_layers: bool = False) -> None:
        super().__init__()
        self.model: Any = beginning.model
        self.width = int(self.model.config.hidden_size)
        self.precision = precision
        self.padding = int(getattr(self.model.config, "pad_token_id", None) or 0)
        self.bias: Tensor | None = None
        if checkpoint_layers:
            # Older versions of transformers know the second name alone, newer ones warn of it.
            enable = getattr(self.model, "activation_checkpointing_enable", None)
            (enable or self.model.gradient_checkpointing_enable)({"use_reentrant": False})
        self._place = ""
        if head:
            decoder = self.model.get_output_embeddings()
            self._place = next(name for name, module in self.model.named_modules() if module is decoder)
            self._decoder = (decoder,)  # in a tuple, torch does not see it as a part
            # The table is the embeddings' where they are tied: one parameter under two names.
            self.table = decoder.weight
            self.bias = decoder.bias
            self._put(nn.Identity())

    def _put(self, module: nn.Module) -> None:
        parent, _, name = self._place.rpartition(".")
        setattr(self.model.get_submodule(parent), name, module)

    @contextlib.contextmanager
    def whole(self) -> Any:
        """Within it `model` has its decoder, as it is to be saved."""
        if self._place:
            self._put(self._decoder[0])
        try:
            yield self.model
        finally:
            if self._place:
                self._put(nn.Identity())

    def autocast(self, device: torch.device) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(device.type, torch.bfloat16)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """What the decoder would multiply, or without a head the last hidden states: [B, L, E]."""
        hidden, _ = self.states(ids, lengths, last=False)
        return hidden

    def states(self, ids: Tensor, lengths: Tensor, *, last: bool) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and if asked the last hidden states before the head, otherwise the same again."""
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        padded = torch.where(real, ids, self.padding)
        with self.autocast(ids.device):
            output = self.model(input_ids=padded, attention_mask=real.long(), output_hidden_states=last)
        if not self._place:
            return output.last_hidden_state, output.last_hidden_state
        return output.logits, output.hidden_states[-1] if last else output.logits


class Network(Side):
    """A transformer with one of the heads."""

    def __init__(
        self, transformer: Transformer, choice: DocumentSide | QuerySide, keep: Tensor, *, top_terms: int | None = None
    ) -> None:
        super().__init__()
        self.transformer, self.kind, self.activation = transformer, choice.kind, choice.activation
        self.pooling = getattr(choice, "pooling", "max")
        self.top_terms = top_terms
        self.dim = len(keep)
        self.register_buffer("keep", keep, persistent=False)
        width = transformer.width
        self.token: nn.Linear | None = None
        self.importance: nn.Linear | None = None
        self.quality: nn.Linear | None = None
        if choice.kind == "mlp":
            self.token = _near_one(width)
        if getattr(choice, "importance", False):
            self.importance = _near_one(width)
        if getattr(choice, "quality", False):
            self.quality = _near_one(width)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        weighed = self.importance is not None or self.quality is not None
        hidden, last = self.transformer.states(ids, lengths, last=weighed)
        weights = self._weights(hidden, last, ids, lengths) * self.keep
        if self.quality is not None:
            weights = weights * nn.functional.softplus(self.quality(last[:, 0].float()))
        if self.top_terms is not None and self.top_terms < self.dim:
            least = weights.detach().topk(self.top_terms, dim=1).values[:, -1:]
            weights = weights * (weights >= least)
        return weights

    def _weights(self, hidden: Tensor, last: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        if self.token is not None:
            return self._of_tokens(self.token, hidden, ids, lengths)
        table, bias = self.transformer.table, self.transformer.bias
        if self.kind == "cls-mlm":
            return activate(first_logits(hidden, lengths, table, bias), self.activation)
        if self.importance is not None:
            factors = nn.functional.softplus(self.importance(last.float()))[..., 0]
            return self._weighted_positions(hidden, factors, lengths)
        # Within autocast the head multiplies in 16 bits, and sums the gradient of the table in 32.
        with self.transformer.autocast(ids.device):
            if self.pooling == "sum":
                return summed_activations(hidden, lengths, table, bias, self.activation.count("log1p"))
            logits = pooled_logits(hidden, lengths, table, bias)
        return activate(logits, self.activation)

    def _of_tokens(self, head: nn.Linear, hidden: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
        """The largest (or summed) weight of each term over the positions where it stands."""
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
        weights = activate(head(hidden.float())[..., 0], self.activation) * real
        found = torch.zeros(len(ids), self.dim, device=ids.device)
        return found.scatter_reduce(1, ids, weights, "amax" if self.pooling == "max" else "sum")

    def _weighted_positions(self, hidden: Tensor, factors: Tensor, lengths: Tensor) -> Tensor:
        """EPIC: activated logits times a factor of their position, then the maximum; some terms at a time, computed
        again for the gradient."""
        real = torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]
        table, bias = self.transformer.table, self.transformer.bias

        def some(hidden: Tensor, factors: Tensor, table: Tensor, bias: Tensor | None) -> Tensor:
            logits = nn.functional.linear(hidden.float(), table, bias)
            return (activate(logits, self.activation) * (factors * real)[..., None]).amax(1)

        parts = [
            checkpoint(some, hidden, factors, table[a : a + TERMS_AT_A_TIME], None if bias is None else
                       bias[a : a + TERMS_AT_A_TIME], use_reentrant=False)
            for a in range(0, self.dim, TERMS_AT_A_TIME)
        ]  # fmt: skip
        return torch.cat(parts, 1)


def _near_one(width: int) -> nn.Linear:
    """One output that is 1 for every input at first: with a relu a token that begins at 0 would never learn."""
    layer = nn.Linear(width, 1)
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.ones_(layer.bias)
    return layer


class Table(Side):
    """Presence of a term times its weight [V]: no network. Special tokens weigh nothing: `keep` is 0 for them."""

    def __init__(self, weights: Tensor, keep: Tensor, *, train: bool) -> None:
        super().__init__()
        self.dim = len(weights)
        self.values = nn.Parameter(weights.clone(), requires_grad=train)
        self.register_buffer("keep", keep, persistent=False)

    def table(self) -> Tensor:
        """The weights of all terms float32 [V]."""
        return self.values.relu() * self.keep

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return presence(ids, lengths, self.dim) * self.table()


class LearnedTable(Side):
    """Li-LSR: a term weighs log(1 + relu(w . E[t] + b)), E being embeddings of the start model; baked when saved."""

    def __init__(self, embeddings: Tensor, keep: Tensor) -> None:
        super().__init__()
        self.dim = len(keep)
        self.embeddings = nn.Parameter(embeddings.detach().clone())
        self.project = _near_one(embeddings.shape[1])
        self.register_buffer("keep", keep, persistent=False)

    def table(self) -> Tensor:
        """The weights of all terms float32 [V]."""
        values: Tensor = torch.log1p(self.project(self.embeddings)[:, 0].relu())
        return values * self.keep

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return presence(ids, lengths, self.dim) * self.table()


def presence(ids: Tensor, lengths: Tensor, dim: int) -> Tensor:
    """1 for each term that stands in a text, float32 [B, V]."""
    real = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).float()
    return torch.zeros(len(ids), dim, device=ids.device).scatter_reduce(1, ids, real, "amax")


class TokenNetwork(Side):
    """A unit vector for each token that is kept, zeros for others: [B, places x width], place after place.

    project: float32 [width, E], shared by both sides, and no bias (Khattab and Zaharia 2020, section 3.2).
    """

    def __init__(self, transformer: Transformer, project: nn.Linear, places: int, keep: Tensor) -> None:
        super().__init__()
        self.transformer, self.project = transformer, project
        self.places, self.dim = places, places * project.out_features
        self.register_buffer("keep", keep, persistent=False)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        hidden = self.transformer(ids, lengths)
        with self.transformer.autocast(ids.device):
            projected = self.project(hidden)
        there = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]) & (self.keep[ids] > 0)
        vectors = nn.functional.normalize(projected.float(), dim=2) * there[..., None]
        return nn.functional.pad(vectors, (0, 0, 0, self.places - ids.shape[1])).flatten(1)
