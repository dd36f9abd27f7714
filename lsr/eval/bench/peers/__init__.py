"""The engines that lsr is measured beside, one file each, and lsr itself in the same form."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

import lsr
from lsr.errors import InvalidInput

if TYPE_CHECKING:
    from lsr.eval.bench.peers.peer import Peer

__all__ = ["OURS", "PEERS", "lacks", "load_peer", "version_of"]

OURS = "lsr.eval.bench.peers.ours:Lsr"
# By the name that `--peer` takes: the module and class that know how to measure it.
PEERS = {
    "seismic": "lsr.eval.bench.peers.seismic:Seismic",
    "sindi": "lsr.eval.bench.peers.sindi:Sindi",
    "bmp": "lsr.eval.bench.peers.bmp:Bmp",
    "kannolo": "lsr.eval.bench.peers.kannolo:Kannolo",
    "splade-index": "lsr.eval.bench.peers.splade_index:SpladeIndex",
    "bm25s": "lsr.eval.bench.peers.bm25s:Bm25s",
}


def load_peer(name: str) -> Peer:
    """The peer of a name in `PEERS`, or at a place "module:Class". Raises `InvalidInput` for a name that is not known."""
    if ":" not in name and name not in PEERS:
        raise InvalidInput(f"peer {name!r} is not known: choose from {', '.join(PEERS)}")
    module, _, class_ = PEERS.get(name, name).partition(":")
    peer: Peer = getattr(importlib.import_module(module), class_)()
    return peer


def lacks(peer: Peer) -> str | None:
    """Why a peer cannot run here, None when it can."""
    if importlib.util.find_spec(peer.module) is not None:
        return None
    return f"not installed: pip install {peer.package}"


def version_of(peer: Peer) -> str | None:
    """The version of a peer that is installed; None when its package does not tell, as when it was built by hand."""
    if peer.package is None:
        return lsr.__version__
    try:
        return importlib.metadata.version(peer.package)
    except importlib.metadata.PackageNotFoundError:
        return None
