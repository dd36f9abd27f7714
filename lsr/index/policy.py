"""Which segments are written together, and when an index should be compacted.

Added documents become a segment of their own. So that many small additions do not become many segments, which each search
would have to look into, an addition takes up the segments before it: those of up to `SMALL` documents always, larger ones
while they are no larger than what comes, all together up to `MOST`. So an addition rewrites at most `MOST` documents, and n
documents that are added one by one lie in about log2(MOST / SMALL) + n / MOST segments. Segments with blocks, and of another
scale, are left as they are until `compact`.
"""

from __future__ import annotations

from collections.abc import Sequence

from lsr.errors import CorruptIndex, InvalidInput, one_line
from lsr.index.blocked.parameters import Building
from lsr.index.segments import Left
from lsr.index.storage.manifest import Manifest, SegmentEntry

__all__ = ["building_of", "is_compact", "reason_to_compact", "taken_up", "trailing"]

SMALL = 4_096  # documents
MOST = 65_536
_MANY_SEGMENTS = 12
# Documents that are compacted within seconds, and searched in some 50 us: another segment costs 30 more.
_QUICKLY_COMPACTED = 32_768
_MANY_DELETED = 0.2  # of what is stored
_MANY_UNBLOCKED = 16_384  # documents that are searched exactly beside blocks


def reason_to_compact(manifest: Manifest) -> str | None:
    """Why an index should be compacted, None where that would gain little."""
    segments = manifest.segments
    stored, deleted = sum(s.documents for s in segments), sum(s.deleted for s in segments)
    if deleted > _MANY_DELETED * stored:
        return f"{deleted:,} of {stored:,} stored documents are deleted"
    if len(segments) > _MANY_SEGMENTS or (len(segments) > 1 and stored <= _QUICKLY_COMPACTED):
        return f"each search looks into {len(segments)} segments"
    without_blocks = sum(s.live for s in segments if not s.block_size)
    wanted = building_of(manifest).blocks(manifest.documents) is not None
    if wanted and without_blocks > max(_MANY_UNBLOCKED, manifest.documents // 20):
        return f"{without_blocks:,} documents are not in blocks, and take longer to search"
    return None


def building_of(manifest: Manifest) -> Building:
    """How the index is built. Raises `CorruptIndex` for settings that are none."""
    known = {name: manifest.building.get(name) for name in ("engine", "block_size", "postings_energy")}
    try:
        return Building(**known)  # type: ignore[arg-type]
    except (InvalidInput, TypeError) as error:
        what = one_line(error)[:200]
        raise CorruptIndex(f"the manifest says wrongly how the index is built ({what}); restore a copy") from None


def is_compact(run: Sequence[Left], building: Building) -> bool:
    """Whether writing some parts anew would change nothing."""
    if len(run) != 1 or run[0].entry.deleted:
        return False
    blocks = building.blocks(run[0].live)
    return run[0].entry.block_size == (0 if blocks is None else blocks.block_size)


def taken_up(parts: Sequence[Left], new: SegmentEntry) -> int:
    """How many of the last parts a new segment takes up; see the module."""
    alike = [
        part.live if not (part.entry.block_size or new.block_size) and part.entry.scale == new.scale else None
        for part in parts
    ]
    return trailing(alike, new.documents, SMALL, MOST)


def trailing(sizes: Sequence[int | None], new: int, small: int, most: int) -> int:
    """How many of the last ones something new of a size takes up; None is never taken up."""
    total, count = new, 0
    for size in reversed(sizes):
        if size is None or size > max(small, total) or total + size > most:
            break
        total += size
        count += 1
    return count
