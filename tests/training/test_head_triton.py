"""The kernel of the head gives what torch gives. Runs on a GPU, or on the CPU in triton's interpreter: TRITON_INTERPRET=1."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import patch

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="triton is not installed: the kernel of the head cannot run")

from torch import Tensor  # noqa: E402
from torch import dtype as DType  # noqa: E402

from lsr.errors import InvalidInput  # noqa: E402
from lsr.training import head_triton  # noqa: E402
from lsr.training.head import pooled_logits  # noqa: E402
from lsr.training.head_triton import INTERPRETED, Tile, tiles_for  # noqa: E402
from tests.training.test_head import Inputs, gradients, inputs, sparse_gradient  # noqa: E402

ON_GPU = torch.cuda.is_available()
DTYPES = head_triton.DTYPES if ON_GPU else (torch.float32, torch.float16)  # it has no products of bfloat16
SHAPES = [(1, 1, 16, 1), (3, 37, 24, 45), (9, 17, 128, 33), (2, 20, 312, 20), (2, 40, 384, 17)]
LARGE = [(12, 130, 128, 1000), (7, 300, 384, 517), (5, 77, 768, 30_522), (3, 512, 312, 129)]
# The interpreter goes element by element through a maximum: there, a small tile over small matrices.
SMALL = Tile(16, 16, 32, 4, 2)
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 1e-3}  # of inputs that are the same numbers


@pytest.fixture(autouse=True)
def _device(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ON_GPU or INTERPRETED):
        pytest.skip("no GPU, and triton's interpreter is off (TRITON_INTERPRET=1): the kernel of the head cannot run")
    if not ON_GPU:
        monkeypatch.setattr(head_triton, "tiles_for", lambda *_: [SMALL])


def maxima(given: Inputs) -> Iterator[Tensor]:
    """What the kernel gives with each of the tiles that there are for such inputs."""
    for tile in tiles_for(given[0].shape[2], given[0].dtype) if ON_GPU else [SMALL]:
        with patch.object(head_triton, "tiles_for", lambda *_, tile=tile: [tile]):
            yield pooled_logits(*given, implementation="triton")


def on_device(given: Inputs, dtype: DType | None = None) -> Inputs:
    """The same numbers on the device of this run, as leaves; in another type, if one is given."""
    hidden, lengths, weight, bias = given
    device = "cuda" if ON_GPU else "cpu"
    moved = [tensor.detach().to(device, dtype).requires_grad_() for tensor in (hidden, weight)]
    added = None if bias is None else bias.detach().to(device, dtype).requires_grad_()
    return moved[0], lengths.to(device), moved[1], added


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES + (LARGE if ON_GPU else []), ids=str)
def test_values_and_gradients_are_those_of_torch(shape: tuple[int, int, int, int], dtype: DType) -> None:
    """Texts of all lengths, among them 0; sizes that fill no tile."""
    given = on_device(inputs(*shape, dtype=dtype))
    given[1][0] = shape[1]
    exact = on_device(given, torch.float32)
    expected = pooled_logits(*exact, implementation="torch")
    scale = expected[expected.isfinite()].abs().max().item()
    for found in maxima(given):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype] * scale, rtol=0)
    gradient = sparse_gradient(found.shape, 0.1).to(found.device)
    # Positions that are all but equal may change places, so not the gradients themselves: what they say of a small step.
    by_us, by_torch = gradients(found, gradient, given)[0].float(), gradients(expected, gradient, exact)[0]
    steps = [(one * exact[0]).sum((1, 2)) for one in (by_us, by_torch)]
    torch.testing.assert_close(*steps, atol=0.02 * scale * shape[3] ** 0.5, rtol=0.02)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("seed", range(3 if ON_GPU else 1))
def test_of_equal_logits_the_first_position_gets_the_gradient(seed: int, dtype: DType) -> None:
    """Sums of small whole numbers are exact, so everything has to be equal."""
    given = on_device(inputs(5, 41, 20, 37, seed, dtype=dtype, whole=True))
    expected = pooled_logits(*given, implementation="torch")
    for found in maxima(given):
        assert torch.equal(found, expected)
    gradient = sparse_gradient(found.shape, 0.3, seed).sign().to(found.device)
    for one, other in zip(gradients(found, gradient, given), gradients(expected, gradient, given), strict=True):
        assert torch.equal(one, other)


def test_without_bias_and_without_gradients() -> None:
    given = on_device(inputs(3, 20, 16, 30, bias=False, shortest=1))
    with torch.no_grad():
        found = pooled_logits(*given, implementation="triton")
    torch.testing.assert_close(found, pooled_logits(*given, implementation="torch").detach())


def test_states_that_are_no_numbers_come_through_but_not_those_of_padding() -> None:
    hidden, _, weight, bias = on_device(inputs(3, 20, 16, 30))
    broken = hidden.detach().clone()
    broken[1, 18] = broken[2, 18] = torch.nan
    lengths = torch.tensor([20, 20, 18], device=hidden.device)
    broken.requires_grad_()
    found = pooled_logits(broken, lengths, weight, bias, implementation="triton")
    assert torch.isfinite(found[[0, 2]]).all()
    assert found[1].isnan().all()
    (gradient,) = torch.autograd.grad(found, broken, torch.ones_like(found))
    assert gradient[1].any()  # at positions that exist, whichever


def test_lengths_beyond_the_positions_of_a_gpu_batch_count_as_all_of_them() -> None:
    if not ON_GPU:
        pytest.skip("on the CPU they are refused")
    hidden, lengths, weight, bias = on_device(inputs(3, 20, 16, 30))
    whole = torch.full_like(lengths, 20)
    for implementation in ("triton", "torch"):
        found = pooled_logits(hidden, whole + 5, weight, bias, implementation=implementation)
        assert torch.equal(found, pooled_logits(hidden, whole, weight, bias, implementation=implementation))


def test_a_type_that_the_kernel_does_not_compute_in_is_refused() -> None:
    given = on_device(inputs(1, 2, 3, 4, dtype=torch.float64))
    with pytest.raises(InvalidInput, match=r"does not compute in torch.float64"):
        pooled_logits(*given, implementation="triton")
    assert pooled_logits(*given).dtype == torch.float64  # the choice is torch's then


def test_tensors_of_the_cpu_are_refused_by_the_kernel_itself() -> None:
    with patch.object(head_triton, "INTERPRETED", False), pytest.raises(InvalidInput, match="does not run on 'cpu'"):
        pooled_logits(*inputs(1, 2, 3, 4), implementation="triton")
