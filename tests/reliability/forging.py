"""Index folders taken apart and put together again, with right checksums: what someone who knows the format could write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

__all__ = ["Forged", "files_of"]


def files_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of all files that a manifest names."""
    found = list((body["encoder"] or {}).get("files", []))
    found += body["vocabulary"]
    for segment in body["segments"]:
        found += segment["files"]
        found += [segment["deletions"]] if segment["deletions"] else []
    return found


class Forged:
    """An index folder under change. `body` is its manifest; `save` makes its checksum right."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = max(folder.glob("manifest-*.json"))
        self.body: dict[str, Any] = json.loads(self.path.read_bytes())
        del self.body["checksum"]

    def content(self, entry: dict[str, Any]) -> bytes:
        return (self.folder / str(entry["name"])).read_bytes()

    def array(self, entry: dict[str, Any]) -> npt.NDArray[Any]:
        return np.frombuffer(self.content(entry), entry["dtype"] or "|u1").copy()

    def put(self, entry: dict[str, Any], content: bytes, dtype: str | None = None) -> None:
        """Gives a file another content. The old one is not written to: other folders may hold it, too."""
        path = self.folder / entry["name"]
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        entry.update(bytes=len(content), xxh3_128=xxhash.xxh3_128_hexdigest(content))
        if dtype is not None:
            entry["dtype"] = dtype
        if entry["dtype"]:
            entry["shape"] = [len(content) // np.dtype(entry["dtype"]).itemsize]

    def put_array(self, entry: dict[str, Any], array: npt.NDArray[Any]) -> None:
        little = array.astype(array.dtype.newbyteorder("<"))
        self.put(entry, little.tobytes(), little.dtype.str)

    def add_file(self, name: str, content: bytes, dtype: str = "") -> dict[str, Any]:
        """A new file, and the entry for it."""
        (self.folder / name).parent.mkdir(exist_ok=True)
        entry: dict[str, Any] = {"name": name, "bytes": 0, "dtype": dtype, "shape": [], "xxh3_128": ""}
        self.put(entry, content)
        return entry

    def save(self) -> None:
        """Writes the manifest in the form in which lsr writes it."""
        try:
            plain = json.dumps(self.body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            written = {**self.body, "checksum": xxhash.xxh3_128_hexdigest(plain.encode("utf-8", "surrogatepass"))}
        except TypeError:  # not to be sorted
            written = self.body
        self.path.unlink(missing_ok=True)
        text = json.dumps(written, indent=1, ensure_ascii=False) + "\n"
        self.path.write_bytes(text.encode("utf-8", "surrogatepass"))
