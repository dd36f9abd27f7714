"""Several processes, one a device, as torchrun starts them; or one alone.

A step is one computation, whoever does which part: vectors are gathered, gradients summed. Nothing depends on their number.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lsr.encoders.libraries import checked_device

__all__ = ["Processes"]

T = TypeVar("T")


class Processes:
    """This process among all: `rank` of `world`, on `device`.

    device: "cuda", "cpu", ...; None takes a GPU if there is one. Under torchrun each process takes the GPU of its local rank.
    """

    def __init__(self, device: str | None = None) -> None:
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        name = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if name == "cuda" and self.world > 1:
            name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        self.device = checked_device(name)
        self._began = False
        if self.world > 1 and not dist.is_initialized():
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
                dist.init_process_group("nccl", device_id=self.device)  # or it guesses, and warns that it does
            else:
                dist.init_process_group("gloo")
            self._began = True

    @property
    def first(self) -> bool:
        """Whether this one writes files and speaks."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The part of `count` things that is this process's; parts are equal."""
        part = count // self.world
        return slice(self.rank * part, (self.rank + 1) * part)

    def gathered(self, part: Tensor) -> Tensor:
        """The parts [n, ...] of all processes in their order; without gradient."""
        if self.world == 1:
            return part
        found = [torch.empty_like(part) for _ in range(self.world)]
        dist.all_gather(found, part.contiguous())
        return torch.cat(found)

    def sum_(self, tensors: list[Tensor]) -> None:
        """Sums each over the processes, in place, in few messages."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        at = 0
        for tensor in tensors:
            tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()

    def first_then_all(self, work: Callable[[], T]) -> T:
        """What `work` gives: the first process does it alone and leaves its results in the cache, where the others find
        them."""
        if self.world == 1:
            return work()
        if self.first:
            found = work()
            dist.barrier()
            return found
        dist.barrier()
        return work()

    def close(self) -> None:
        if self._began:
            dist.destroy_process_group()
