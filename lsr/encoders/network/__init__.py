"""From the weights of a transformer to an ONNX graph that gives sparse vectors, without torch or transformers."""

from __future__ import annotations

from lsr.encoders.network.checkpoint import Checkpoint, read_config
from lsr.encoders.network.families import read_network
from lsr.encoders.network.form import Network, UnsupportedNetwork
from lsr.encoders.network.graph import build_graph, build_probe, build_vector_graph, check_head, with_positions
from lsr.encoders.network.head import Calibration

__all__ = [
    "Calibration",
    "Checkpoint",
    "Network",
    "UnsupportedNetwork",
    "build_graph",
    "build_probe",
    "build_vector_graph",
    "check_head",
    "read_config",
    "read_network",
    "with_positions",
]
