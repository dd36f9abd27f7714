"""An index of an engine, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lsr.eval.bench.peers.peer import Peer, Settings

__all__ = ["Built"]


@dataclass(slots=True)
class Built:
    """An index of an engine, and what it cost. `place` is where the engine's class is (see `load_peer`)."""

    peer: Peer
    place: str
    settings: Settings
    folder: Path = Path()
    build_s: float = 0.0
    peak_mib: float | None = None
    disk_bytes: int = 0
    open_s: float | None = None
    resident_mib: float | None = None

    @property
    def shown(self) -> str:
        written = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.peer.name} ({written})" if written else self.peer.name
