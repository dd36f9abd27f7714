"""What an index holds, in figures: `Index.info`."""

from __future__ import annotations

from typing import Any

from lsr.index.policy import reason_to_compact
from lsr.index.snapshot import Snapshot

__all__ = ["facts_of"]


def facts_of(snapshot: Snapshot) -> dict[str, Any]:
    """Counts, sizes and origin; see `Index.info`."""
    manifest = snapshot.manifest
    sizes = dict.fromkeys(("vectors", "postings", "blocks", "ids", "texts", "fields", "deletions", "encoder"), 0)
    kinds = {
        "forward": "vectors",
        "dense": "postings",
        "text": "texts",
        "order": "blocks",
        "field": "fields",
        "token": "encoder",
    }
    for file in manifest.files():
        folder, _, name = file.name.rpartition("/")
        kind = "encoder" if folder.startswith("encoder") else name.partition("_")[0] if folder else "deletions"
        kind = kinds.get(kind, kind)
        sizes[kind] = sizes.get(kind, 0) + file.bytes  # a newer lsr may have files of other kinds
    encoder = manifest.encoder
    return {
        "path": str(snapshot.path),
        "documents": snapshot.documents,
        "deleted": sum(entry.deleted for entry in manifest.segments),
        "segments": len(manifest.segments),
        "compact": reason_to_compact(manifest),
        "dim": manifest.dim,
        "nnz": snapshot.nnz,
        "terms": snapshot.terms(),
        "bytes": {**sizes, "total": sum(sizes.values())},
        "engine": manifest.engine,
        "block_size": max((entry.block_size for entry in manifest.segments), default=0) or None,
        "curves": [curve.to_json() for curve in snapshot.curves],
        "weight_bits": max((part.segment.forward_codes.dtype.itemsize * 8 for part in snapshot.parts), default=8),
        "encoder": None
        if encoder is None
        else {
            "name": encoder.name,
            "hash": encoder.hash,
            "vocabulary_hash": encoder.vocabulary_hash,
            "source": encoder.source,
            "reading": encoder.reading,
            "term_weights": encoder.term_weights,
        },
        "generation": manifest.generation,
        "format_version": ".".join(map(str, manifest.format_version)),
        "lsr_version": manifest.lsr_version,
        "created": manifest.created,
        "texts": manifest.texts,
        "fields": snapshot.describe_fields(),
        "source": manifest.source,
    }
