"""The vocabulary head in training: its values and gradients are those of the naive formula, and it never holds the logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.errors import InvalidInput, MissingExtra

torch = pytest.importorskip("torch")

from torch import Size, Tensor  # noqa: E402
from torch import dtype as DType  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from lsr.encoders import torch_head  # noqa: E402
from lsr.training import head  # noqa: E402
from lsr.training.head import ACTIVATIONS, activate, first_logits, pooled_logits, summed_activations  # noqa: E402

Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None]  # hidden, lengths, weight, bias


def inputs(
    texts: int,
    length: int,
    size: int,
    terms: int,
    seed: int = 0,
    *,
    bias: bool = True,
    dtype: DType = torch.float32,
    whole: bool = False,
    shortest: int = 0,
) -> Inputs:
    """Random ones; what is padded is large. whole: small whole numbers, whose sums are exact in any type, with many ties."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(*shape: int) -> Tensor:
        drawn: Tensor = torch.randn(shape, generator=generator, dtype=torch.float64)
        return (drawn.round().clamp(-2, 2) if whole else drawn).to(dtype)

    hidden = numbers(texts, length, size)
    lengths = torch.randint(shortest, length + 1, (texts,), generator=generator)
    hidden[torch.arange(length) >= lengths[:, None]] *= 100
    weight, added = numbers(terms, size), numbers(terms)
    for tensor in (hidden, weight, added):
        tensor.requires_grad_()
    return hidden, lengths, weight, added if bias else None


def logits_of(hidden: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """All logits [B, L, V], and which positions are real [B, L, 1]."""
    logits = torch.nn.functional.linear(hidden, weight, bias)
    return logits, (torch.arange(hidden.shape[1]) < lengths[:, None])[:, :, None]


def naive_maximum(hidden: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits, real = logits_of(hidden, lengths, weight, bias)
    return logits.masked_fill(~real, -torch.inf).max(1).values  # of equals the first, unlike amax


def naive_sum(hidden: Tensor, lengths: Tensor, weight: Tensor, bias: Tensor | None, logarithms: int) -> Tensor:
    logits, real = logits_of(hidden, lengths, weight, bias)
    activated = logits.relu()
    for _ in range(logarithms):
        activated = activated.log1p()
    return activated.where(real, 0).sum(1)


def gradients(pooled: Tensor, gradient: Tensor, given: Inputs) -> list[Tensor]:
    wanted = [tensor for tensor in (given[0], given[2], given[3]) if tensor is not None and tensor.requires_grad]
    found: list[Tensor] = list(torch.autograd.grad(pooled, wanted, gradient.to(pooled.dtype), retain_graph=True))
    return found


def sparse_gradient(shape: Size, share: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator)
    found: Tensor = values.where(torch.rand(shape, generator=generator) < share, 0)
    return found


def assert_same_gradients(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-4) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().item() or 1.0
        torch.testing.assert_close(one.double(), other.double(), atol=tolerance * scale, rtol=0)


class Largest(TorchDispatchMode):
    """Notes the most bytes of a tensor that any operation made, but views."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and not func.is_view:
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return result


shapes = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 6), st.integers(1, 200))


@given(
    shape=shapes,
    seed=st.integers(0, 999),
    slices=st.integers(1, 3000),
    block=st.integers(1, 20_000),
    share=st.sampled_from([0.0, 0.05, 1.0]),
    bias=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_values_and_gradients_are_those_of_all_logits(
    shape: tuple[int, int, int, int], seed: int, slices: int, block: int, share: float, bias: bool
) -> None:
    """Whatever the sizes of slices and blocks, for gradients sparse and dense, and texts without a position."""
    given_ = inputs(*shape, seed, bias=bias, dtype=torch.float64)
    with patch.object(torch_head, "SLICE_ON_CPU", slices), patch.object(head, "BLOCK_BYTES", block):
        found, expected = pooled_logits(*given_), naive_maximum(*given_)
        torch.testing.assert_close(found, expected)
        gradient = sparse_gradient(found.shape, share, seed)
        by_us = gradients(found, gradient, given_)
    # A text without positions has no gradient; the naive formula would give it one.
    gradient = gradient.where((given_[1] > 0)[:, None], 0)
    assert_same_gradients(by_us, gradients(expected, gradient, given_), 1e-12)


def test_the_gradient_is_the_slope() -> None:
    hidden, lengths, weight, bias = inputs(4, 5, 3, 20, dtype=torch.float64, shortest=1)
    assert torch.autograd.gradcheck(
        lambda h, w, b: activate(pooled_logits(h, lengths, w, b), "log1p_relu"), (hidden, weight, bias)
    )
    for logarithms in (0, 1, 2):
        assert torch.autograd.gradcheck(
            lambda h, w, b, n=logarithms: summed_activations(h, lengths, w, b, n), (hidden, weight, bias)
        )


@given(shape=shapes, seed=st.integers(0, 999), dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
@settings(deadline=None, max_examples=40)
def test_of_equal_logits_the_first_position_gets_the_gradient(
    shape: tuple[int, int, int, int], seed: int, dtype: DType
) -> None:
    given_ = inputs(*shape, seed, dtype=dtype, whole=True, shortest=1)
    found, expected = pooled_logits(*given_), naive_maximum(*given_)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected.float())
    gradient = sparse_gradient(found.shape, 0.3, seed).sign()
    for one, other in zip(gradients(found, gradient, given_), gradients(expected, gradient, given_), strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_of_16_bits_are_summed_in_32(dtype: DType) -> None:
    """3,000 texts that each add 1 to the same weight: in bfloat16 the sum would stop at 256, in float16 at 2,048."""
    texts = 3000
    hidden = torch.ones(texts, 2, 1, dtype=dtype, requires_grad=True)
    weight, bias = (torch.ones(shape, dtype=dtype, requires_grad=True) for shape in ((1, 1), (1,)))
    lengths = torch.full((texts,), 2)
    blocks = [slice(text, text + 10) for text in range(0, texts, 10)]
    with patch.object(head, "text_blocks", lambda _: blocks), patch.object(head, "BLOCK_BYTES", 1000):
        once = pooled_logits(hidden, lengths, weight, bias)
        twice = summed_activations(hidden, lengths, weight, bias, 0)
        for pooled, expected in ((once, texts), (twice, 2 * texts)):
            for gradient in torch.autograd.grad(pooled.sum(), (weight, bias)):
                assert gradient.dtype == dtype
                assert gradient.item() == torch.tensor(expected).to(dtype).item()


def test_under_autocast_logits_have_16_bits_and_gradients_the_type_of_the_weights() -> None:
    given_ = inputs(3, 6, 8, 50, whole=True, shortest=1)
    exact = naive_maximum(*given_)
    coarse = inputs(3, 6, 8, 50, shortest=1)
    with torch.autocast("cpu", torch.bfloat16):
        pooled, rounded = pooled_logits(*given_), pooled_logits(*coarse)
        summed, first = summed_activations(*coarse), first_logits(*coarse)
    assert torch.equal(pooled, exact)
    assert all(t.dtype == torch.float32 for t in (pooled, summed, first))
    expected = naive_maximum(*coarse)
    assert not torch.allclose(rounded, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(rounded, expected, atol=0.1, rtol=0.02)
    for one, other in zip(
        gradients(pooled, torch.ones_like(exact), given_),
        gradients(exact, torch.ones_like(exact), given_),
        strict=True,
    ):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


def test_a_backward_under_autocast_is_that_of_a_forward_without() -> None:
    given = inputs(3, 6, 8, 50, shortest=1)
    for pool in (pooled_logits, summed_activations):
        pooled = pool(*given)
        exact = gradients(pooled, torch.ones_like(pooled), given)
        with torch.autocast("cpu", torch.bfloat16):
            assert_same_gradients(gradients(pooled, torch.ones_like(pooled), given), exact, 1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_text_without_positions_has_no_terms_and_gives_no_gradient(name: str) -> None:
    hidden, _, weight, bias = given_ = inputs(3, 4, 5, 30)
    lengths = torch.tensor([4, 0, 1])
    pooled = pooled_logits(hidden, lengths, weight, bias)
    assert (pooled[1] == -torch.inf).all()
    weights = activate(pooled, name)
    assert (weights[1] == 0).all()
    for one in gradients(weights, torch.ones_like(weights), given_):
        assert torch.isfinite(one).all()
    assert not gradients(weights, torch.ones_like(weights), given_)[0][1].any()
    empty = pooled_logits(hidden, torch.tensor([0, 0, 0]), weight, bias)
    for one in gradients(empty, torch.ones_like(empty), given_):  # also without an activation
        assert not one.any()
    assert (first_logits(hidden, lengths, weight, bias)[1] == -torch.inf).all()
    assert (summed_activations(hidden, lengths, weight, bias)[1] == 0).all()


@given(
    shape=shapes,
    seed=st.integers(0, 999),
    slices=st.integers(1, 3000),
    logarithms=st.integers(0, 2),
    bias=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_sums_and_their_gradients_are_those_of_all_logits(
    shape: tuple[int, int, int, int], seed: int, slices: int, logarithms: int, bias: bool
) -> None:
    given_ = inputs(*shape, seed, bias=bias, dtype=torch.float64)
    blocks = [slice(text, text + 2) for text in range(0, shape[0], 2)]
    with (
        patch.object(torch_head, "SLICE_ON_CPU", slices),
        patch.object(torch_head, "text_blocks", lambda _: blocks),
        patch.object(head, "text_blocks", lambda _: blocks),
    ):
        found, expected = summed_activations(*given_, logarithms), naive_sum(*given_, logarithms)
        torch.testing.assert_close(found, expected)
        gradient = sparse_gradient(found.shape, 0.5, seed)
        by_us = gradients(found, gradient, given_)
    assert_same_gradients(by_us, gradients(expected, gradient, given_), 1e-12)


def test_cls_pooling_is_the_first_position_through_a_linear_layer() -> None:
    given_ = inputs(4, 5, 6, 30, shortest=1)
    found, expected = first_logits(*given_), logits_of(*given_)[0][:, 0]
    torch.testing.assert_close(found, expected)
    gradient = sparse_gradient(found.shape, 0.5)
    assert_same_gradients(gradients(found, gradient, given_), gradients(expected, gradient, given_), 1e-6)


@pytest.mark.parametrize("frozen", [0, 2, 3])
def test_what_is_frozen_gets_no_gradient_and_the_others_the_same(frozen: int) -> None:
    given_ = inputs(3, 5, 6, 40, shortest=1)
    tensor = given_[frozen]
    assert tensor is not None
    tensor.requires_grad_(False)
    for found, expected in (
        (pooled_logits(*given_), naive_maximum(*given_)),
        (summed_activations(*given_), naive_sum(*given_, 1)),
    ):
        gradient = torch.ones_like(found)
        by_us = gradients(found, gradient, given_)
        assert len(by_us) == 2
        assert_same_gradients(by_us, gradients(expected, gradient, given_))


def test_without_gradients_the_values_are_the_same() -> None:
    given_ = inputs(3, 5, 6, 40)
    with torch.no_grad():
        found = pooled_logits(*given_)
    assert not found.requires_grad
    assert torch.equal(found, pooled_logits(*given_))


def test_padding_does_not_matter_even_where_it_is_no_number() -> None:
    hidden, lengths, weight, bias = inputs(3, 5, 6, 40, shortest=1)
    lengths[0] = 2
    damaged = hidden.detach().clone()
    damaged[torch.arange(5) >= lengths[:, None]] = torch.nan
    damaged.requires_grad_()
    for pool in (pooled_logits, summed_activations, first_logits):
        found, expected = (pool(h, lengths, weight, bias) for h in (damaged, hidden))
        assert torch.equal(found, expected)
        torch.autograd.backward(found.sum())
        assert damaged.grad is not None
        assert torch.isfinite(damaged.grad).all()
        assert not damaged.grad[0, 2:].any()


def test_states_that_are_no_numbers_come_through() -> None:
    hidden, _, weight, bias = inputs(2, 5, 6, 40)
    broken = hidden.detach().clone()
    broken[1, 3] = torch.nan
    found = pooled_logits(broken, torch.tensor([5, 5]), weight, bias)
    assert torch.isfinite(found[0]).all()
    assert found[1].isnan().all()


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_nothing_of_the_size_of_the_logits_is_held(share: float) -> None:
    """Not in the forward, nor in the backward of a gradient that is dense, as that of a new head."""
    texts, length, size, terms = 32, 64, 16, 4000
    given_ = inputs(texts, length, size, terms, shortest=length // 2)
    # What has to be: the pooled logits, and gradients. All logits would be 64 times the former.
    needed = 4 * max(texts * terms, texts * length * size, terms * size)
    with (
        patch.object(torch_head, "SLICE_ON_CPU", 1 << 15),
        patch.object(head, "BLOCK_BYTES", 1 << 19),
        Largest() as held,
    ):
        pooled = pooled_logits(*given_)
        gradient = sparse_gradient(pooled.shape, share)
        torch.autograd.backward(pooled, gradient)
        assert held.bytes <= 2 * needed  # maxima and places of a slice are of 64 terms at least
        held.bytes = 0
        torch.autograd.backward(summed_activations(*given_), gradient)
        assert held.bytes <= 2 * needed
    with Largest() as held:
        naive_maximum(*given_)
    assert held.bytes >= 64 * 4 * texts * terms  # the measure sees what it should


@given(entries=st.lists(st.integers(0, 100), max_size=40), row=st.integers(0, 500), budget=st.integers(1, 20_000))
def test_blocks_hold_each_row_once_and_keep_to_the_budget(entries: list[int], row: int, budget: int) -> None:
    import numpy as np

    with patch.object(head, "BLOCK_BYTES", budget):
        blocks = head._blocks(np.array(entries, np.int64), row)
    assert [i for block in blocks for i in range(len(entries))[block]] == list(range(len(entries)))
    for block in blocks:
        cost = sum(entries[block]) * head.ENTRY_BYTES + row * len(entries[block])
        assert cost <= budget or len(entries[block]) == 1


def test_the_result_is_the_same_in_every_run_and_deterministic_algorithms_suffice() -> None:
    given_ = inputs(8, 16, 24, 500, shortest=1)
    runs = []
    threads = torch.get_num_threads()
    try:
        torch.use_deterministic_algorithms(True)
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            found = []
            for pooled in (pooled_logits(*given_), summed_activations(*given_)):
                found += [pooled, *gradients(pooled, sparse_gradient(pooled.shape, 0.5), given_)]
            runs.append(found)
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
    for run in runs[1:]:
        assert all(torch.equal(*pair) for pair in zip(run, runs[0], strict=True))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_what_its_name_says(name: str) -> None:
    logits = torch.tensor([-2.0, 0.0, 0.5, 3.0, -torch.inf], dtype=torch.float64)
    expected = torch.log(1 + torch.exp(logits)) if "softplus" in name else logits.clamp(min=0)
    for _ in range(name.count("log1p")):
        expected = torch.log(1 + expected)
    torch.testing.assert_close(activate(logits, name), expected)


def test_texts_of_more_positions_than_16_bits_count() -> None:
    hidden = torch.zeros(1, 40_000, 1)
    hidden[0, 35_000] = 1
    hidden.requires_grad_()
    torch.autograd.backward(pooled_logits(hidden, torch.tensor([40_000]), torch.ones(2, 1), None).sum())
    assert hidden.grad is not None
    assert hidden.grad.nonzero()[:, 1].tolist() == [35_000]
    assert hidden.grad.sum() == 2


@pytest.mark.parametrize("pool", [pooled_logits, summed_activations, first_logits])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, n, w, b: (h[0], n, w, b), "hidden states of shape"),
        (lambda h, n, w, b: (h[:, :0], n * 0, w, b), "1 or more"),
        (lambda h, n, w, b: (h, n, w[:, :2], b), "weights of shape"),
        (lambda h, n, w, b: (h, n, w, b[:3]), r"a bias of shape \[3\] for 8 terms"),
        (lambda h, n, w, b: (h, n[:1], w, b), "whole numbers, one a text"),
        (lambda h, n, w, b: (h, n.float(), w, b), "whole numbers, one a text"),
        (lambda h, n, w, b: (h, n + 5, w, b), "for texts of 5 positions"),
        (lambda h, n, w, b: (h, n - 6, w, b), "for texts of 5 positions"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    pool: Callable[..., Tensor], change: Callable[..., Inputs], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        pool(*change(*inputs(3, 5, 4, 8, shortest=1)))


def test_an_activation_or_an_implementation_by_no_known_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="it must be one of relu, log1p_relu"):
        activate(torch.zeros(1, 1), "gelu")
    with pytest.raises(InvalidInput, match="'torch', 'triton', or None"):
        pooled_logits(*inputs(1, 1, 1, 1), implementation="cuda")


def test_the_kernel_where_triton_is_missing_names_the_remedy() -> None:
    with patch.object(head, "find_spec", lambda _: None), pytest.raises(MissingExtra, match="triton"):
        pooled_logits(*inputs(1, 1, 1, 1), implementation="triton")
