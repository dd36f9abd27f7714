"""Forward and backward of the vocabulary head in training: time and peak memory, beside the formula as it is written.

    python -m benchmarks.training_head [--device cpu] [--dtype fp32] [--tiles]

"naive" is what sentence-transformers computes: logits of all positions, activated, masked, then the maximum. Hidden states
and weights are random; a bias is set so that a text has `--active` terms, as late in training ("sparse"), or all, as a new
head has ("all terms"). Lengths are all `--length`, or drawn from 1 to it ("mixed"). With bf16 and fp16 hidden states have
that type, the weights are float32, and autocast is on, as in training. Memory is what is allocated beyond the inputs at the
peak. The error is the largest of the activated weights against float32 on the same numbers. `--tiles` times every tile of the
kernel instead, the forward alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lsr.errors import LsrError
from lsr.training.head import activate, pooled_logits

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
NAME = "log1p_relu"


class Batch:
    """Inputs of the head, and the gradient of what comes out."""

    def __init__(self, options: argparse.Namespace, size: int, *, mixed: bool, sparse: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        device, dtype = options.device, DTYPES[options.dtype]
        shape = (options.texts, options.length, size)
        self.autocast = None if dtype == torch.float32 else dtype
        self.hidden = torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
        weight = torch.randn(options.terms, size, generator=generator) / size**0.5
        self.weight = weight.to(device).requires_grad_()
        drawn = torch.randint(1, options.length + 1, (options.texts,), generator=generator)
        self.lengths = (drawn if mixed else torch.full_like(drawn, options.length)).to(device)
        self.bias = torch.zeros(options.terms, device=device)
        if sparse:
            with torch.no_grad():
                largest = pooled_logits(self.hidden[:8], self.lengths[:8], self.weight, None)
            count = max(1, int(largest.numel() * options.active / options.terms))
            self.bias -= largest.flatten().topk(count).values[-1]
        self.bias.requires_grad_()
        self.gradient = torch.randn(options.texts, options.terms, generator=generator).to(device)

    def forward(self, implementation: str) -> Tensor:
        device = self.hidden.device.type
        with torch.autocast(device, self.autocast, enabled=self.autocast is not None):
            if implementation != "naive":
                given = self.hidden, self.lengths, self.weight, self.bias
                pooled = pooled_logits(*given, implementation=implementation)
                return activate(pooled, NAME)
            real = torch.arange(self.hidden.shape[1], device=self.hidden.device) < self.lengths[:, None]
            logits = functional.linear(self.hidden, self.weight, self.bias)
            weights: Tensor = (activate(logits, NAME) * real[:, :, None]).max(1).values
            return weights

    def both(self, implementation: str) -> None:
        for tensor in (self.hidden, self.weight, self.bias):
            tensor.grad = None
        weights = self.forward(implementation)
        torch.autograd.backward(weights, self.gradient.to(weights.dtype))

    def error(self, implementation: str) -> float:
        """Against float32, on the first texts."""
        count = min(16, len(self.hidden))
        with torch.no_grad():
            exact = pooled_logits(
                self.hidden[:count].float(), self.lengths[:count], self._rounded(), self.bias, implementation="torch"
            )
            return float((self.forward(implementation)[:count].float() - activate(exact, NAME)).abs().max())

    def _rounded(self) -> Tensor:
        rounded: Tensor = self.weight if self.autocast is None else self.weight.to(self.autocast).float()
        return rounded


def milliseconds(run: Callable[[], Any], device: str, repeats: int) -> float:
    """Median; on a GPU between events of its own."""
    run()
    found = []
    for _ in range(repeats):
        if device == "cpu":
            started = time.perf_counter()
            run()
            found.append(1000 * (time.perf_counter() - started))
            continue
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        run()
        end.record()
        end.synchronize()
        found.append(begin.elapsed_time(end))
    return median(found)


def gigabytes(run: Callable[[], Any], device: str) -> float:
    """Allocated at the peak, beyond what is before."""
    if device == "cpu":
        return float("nan")
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e9


def compare(options: argparse.Namespace) -> None:
    print("| size | lengths | gradient | head | forward ms | forward + backward ms | peak GB | error |")
    print("|--:|---|---|---|--:|--:|--:|--:|", flush=True)
    for size in options.sizes:
        for mixed in (False, True):
            for sparse in (True, False):
                batch = Batch(options, size, mixed=mixed, sparse=sparse)
                case = f"| {size} | {'mixed' if mixed else 'full'} | {'sparse' if sparse else 'all terms'} |"
                for implementation in options.heads:
                    print(f"{case} {implementation} | {measured(batch, implementation, options)}", flush=True)


def measured(batch: Batch, implementation: str, options: argparse.Namespace) -> str:
    both = partial(batch.both, implementation)
    try:
        forward_time = milliseconds(partial(batch.forward, implementation), options.device, options.repeats)
        both_time = milliseconds(both, options.device, options.repeats)
        for tensor in (batch.hidden, batch.weight, batch.bias):
            tensor.grad = None
        memory = gigabytes(both, options.device)
        return f"{forward_time:,.2f} | {both_time:,.2f} | {memory:.2f} | {batch.error(implementation):.1e} |"
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "out of memory | | | |"
    except LsrError as error:
        return f"{error} | | | |"


def tiles(options: argparse.Namespace) -> None:
    from lsr.training.head_triton import largest_logits, tiles_for

    print("| size | lengths | tile | with places ms | without ms |")
    print("|--:|---|---|--:|--:|", flush=True)
    dtype = DTYPES[options.dtype]
    for size in options.sizes:
        for mixed in (False, True):
            batch = Batch(options, size, mixed=mixed, sparse=False)
            given = batch.hidden.detach(), batch.lengths, batch.weight.detach().to(dtype), batch.bias.detach()
            places = torch.zeros(options.texts, options.terms, dtype=torch.int16, device=options.device)
            for tile in tiles_for(size, dtype):
                runs = [partial(largest_logits, *given, kept, tile) for kept in (places, None)]
                times = [milliseconds(run, options.device, options.repeats) for run in runs]
                shown = "x".join(map(str, tile[:3])) + f", {tile.warps} warps, {tile.stages} stages"
                shown += f", {tile.registers} registers" if tile.registers else ""
                print(
                    f"| {size} | {'mixed' if mixed else 'full'} | {shown} | {times[0]:.2f} | {times[1]:.2f} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 384])
    parser.add_argument("--terms", type=int, default=30_522)
    parser.add_argument("--active", type=int, default=200, help="terms of a text above 0, where few are")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument(
        "--heads", nargs="+", choices=("torch", "triton", "naive"), default=["triton", "torch", "naive"]
    )
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--tiles", action="store_true", help="time the tiles of the kernel, and nothing else")
    options = parser.parse_args()
    (tiles if options.tiles else compare)(options)
    name = "cpu" if options.device == "cpu" else torch.cuda.get_device_name()
    print(
        f"\n{name}, {options.dtype}, {options.texts} texts of up to {options.length} tokens, {options.terms:,} terms, "
        f"medians of {options.repeats}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
