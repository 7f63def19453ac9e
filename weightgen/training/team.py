"""The processes that train one network together: which of them this is, and what they say to each other.

team = Team.here()                      # alone, unless torch.distributed has been initialised
rows = team.slots(batch_size=32)        # this process's rows of the whole batch
network = team.wrap(denoiser)           # gradients become means over the team
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import distributed, nn

from zoo.errors import WeightzooError
from zoo.words import plural


@dataclass(frozen=True)
class Team:
    """Process number `rank` of `size`; number 0 leads: it validates, and writes all files."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Team:
        """Return the team of torch's process group, or a team of one."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    @property
    def leads(self) -> bool:
        """Return whether this process validates and writes."""
        return self.rank == 0

    def slots(self, batch_size: int) -> range:
        """Return this process's rows of a whole batch.

        Raises:
            WeightzooError: the batch cannot be divided equally.
        """
        if batch_size % self.size:
            raise WeightzooError(
                f"a batch of {batch_size} cannot be divided among {plural(self.size, 'worker')}; "
                "choose a number of workers that divides it"
            )
        share = batch_size // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network with gradients averaged over the team."""
        if self.size == 1:
            return network
        return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)

    def agree(self, value: float, device: torch.device) -> float:
        """Return the leader's value in every process."""
        if self.size == 1:
            return value
        said = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.broadcast(said, 0)
        return float(said)

    def mean(self, value: float, device: torch.device) -> float:
        """Return the mean of every process's value."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return float(total) / self.size
