"""From batches of token vectors to a token store on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xxhash

import lsr
from lsr import disk
from lsr.errors import CorruptIndex, InvalidInput, StorageError
from lsr.index.storage.checkpoint import read_checkpoint, write_checkpoint
from lsr.index.storage.folder import CHECKPOINT, Workplace, new_folder
from lsr.index.storage.generations import manifest_name
from lsr.index.storage.manifest import FileEntry, file_entries
from lsr.rerank.codecs import Codec, codec_class
from lsr.rerank.codecs.scoring import Floats
from lsr.rerank.store.batches import Batch, Batches, append, given, made
from lsr.rerank.store.manifest import STORE, IndexIdentity, StoreEncoder, StoreManifest
from lsr.rerank.store.report import DocumentSample, codec_report
from lsr.rerank.store.segment import PARAMETERS, SegmentWriter, read_codec, write_parameters
from lsr.rerank.token_vectors import TokenVectors, check_pool

if TYPE_CHECKING:
    from lsr.index.segment_writer import Progress

__all__ = ["SAMPLE", "BuildSettings", "build_store"]

logger = logging.getLogger(__name__)

SAMPLE = 1 << 17  # tokens that a codec is trained on: 39 for each of 3,360 centroids
SEGMENT = "segment-0001"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """What a store is built as; see `TokenStore.build`."""

    codec: str = "int8"
    size: int | None = None
    encoder: StoreEncoder | None = None
    index: IndexIdentity | None = None
    dim: int | None = None
    sample: int = SAMPLE
    seed: int = 0
    pool: int = 1

    def __post_init__(self) -> None:
        codec_class(self.codec)
        check_pool(self.pool)
        if self.sample < 1:
            raise InvalidInput(f"sample is {self.sample}: a codec is trained on at least one token")

    @property
    def plan(self) -> dict[str, Any]:
        """What an interrupted build must have been told to be gone on with."""
        facts = asdict(self)
        if self.index is not None:
            facts["index"] = asdict(replace(self.index, numbered=0))
        return facts


def build_store(
    path: Path, batches: Batches, settings: BuildSettings, overwrite: bool, resume: bool, progress: Progress
) -> int:
    """Builds a store at `path`; see `TokenStore.build`. Returns how many documents an interrupted build had written."""
    with new_folder(path, overwrite, resume, STORE) as place:
        run = _Build(place, settings, resume, progress)
        try:
            return run.run(batches)
        finally:
            run.close()


@dataclass(slots=True)
class _Open:
    """What a build writes to, once the codec is there."""

    codec: Codec
    parameters: tuple[FileEntry, ...]
    writer: SegmentWriter


class _Build:
    """One run. With `resume` it keeps a checkpoint after every batch, and goes on from the one that it finds.

    It works in scratch, which an interruption leaves; only what is whole is moved to where it belongs.
    """

    def __init__(self, place: Workplace, settings: BuildSettings, resume: bool, progress: Progress) -> None:
        self._place, self._settings, self._resume, self._progress = place, settings, resume, progress
        self._checkpoint = place.scratch / CHECKPOINT
        self._content = xxhash.xxh3_128()  # of all ids so far, and the hashes of their texts
        self._open: _Open | None = None
        self._sample = DocumentSample(settings.seed)  # for the report
        self._wanted = ""  # what it was when the checkpoint was written

    def run(self, batches: Batches) -> int:
        resumed = self._restored() if self._resume else 0
        if self._open is None:
            for name in (SEGMENT, PARAMETERS):
                if (self._place.scratch / name).exists():  # of a run without a checkpoint
                    disk.remove_tree(self._place.scratch / name)
        rest = self._passed_over(iter(batches), resumed)
        if self._open is None:
            rest = self._started(rest)
        for batch, first in rest:
            self._append(batch, first)
        self._finish()
        return resumed

    def close(self) -> None:
        if self._open is not None:
            self._open.writer.close()

    # -- batches -------------------------------------------------------------------------------------------------------

    def _passed_over(self, batches: Iterator[Any], done: int) -> Iterator[tuple[Batch, int]]:
        """Batches, checked, without those of which an interrupted run had written all, and where to begin in each."""
        left = done
        for batch in batches:
            ids, hashes, vectors = given(batch)
            first = min(left, len(ids))
            if first:
                assert self._open is not None
                self._open.writer.record(ids[:first])
                self._note(ids[:first], hashes[:first])
                left -= first
                if not left:
                    self._check_content()
                self._progress("writing token vectors", done - left, None)
            if first < len(ids):
                dim = self._settings.dim if self._open is None else self._open.codec.dim
                yield made(ids, hashes, vectors, dim), first
        if left:
            raise self._refusal("the interrupted build had more documents")

    def _started(self, batches: Iterator[tuple[Batch, int]]) -> Iterator[tuple[Batch, int]]:
        """Makes the codec, of the first batches where it has to be trained. Hands on all of them."""
        settings, held, tokens = self._settings, list[tuple[Batch, int]](), 0
        dim, kind, codec = settings.dim, codec_class(settings.codec), None
        for batch, first in batches:
            vectors = batch.vectors
            if dim is not None and vectors.dim != dim:
                raise InvalidInput(f"token vectors have {vectors.dim} dimensions, those before them {dim}")
            dim = vectors.dim
            codec = _untrained(self._settings, dim)
            held.append((batch, first))
            tokens += len(vectors.vectors)
            if codec is not None or tokens >= settings.sample:
                break
        if dim is None:
            raise InvalidInput("there are no documents: give dim to make an empty token store")
        codec = codec or _untrained(settings, dim)
        if codec is None:
            if tokens == 0:
                raise InvalidInput(f"codec {kind.name} is trained on the first documents, which have no token")
            self._progress("training the codec", 0, None)
            sample, kinds = _sample([batch.vectors for batch, _ in held], settings.sample)
            codec = kind.train(sample, kinds, settings.seed, size=settings.size)
        scratch = self._place.scratch
        parameters = write_parameters(scratch, codec)
        self._open = _Open(codec, parameters, SegmentWriter(scratch, SEGMENT, codec.bytes_per_token))
        while held:
            yield held.pop(0)
        yield from ((made(*batch, dim), first) for batch, first in batches)

    def _append(self, batch: Batch, first: int) -> None:
        assert self._open is not None
        append(self._open.writer, self._open.codec, batch, first)
        self._sample.add(batch.vectors, first)
        self._note(batch.ids[first:], batch.hashes[first:])
        if self._resume:
            self._save()
        self._progress("writing token vectors", self._open.writer.documents, None)

    def _note(self, ids: tuple[str, ...], hashes: npt.NDArray[np.uint64]) -> None:
        for identifier, hashed in zip(ids, hashes.tolist(), strict=True):
            self._content.update(identifier.encode() + b"\0" + hashed.to_bytes(8, "little"))

    def _finish(self) -> None:
        assert self._open is not None
        codec, writer, settings = self._open.codec, self._open.writer, self._settings
        sample = self._sample.vectors()
        manifest = StoreManifest(
            generation=1,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            lsr_version=lsr.__version__,
            dim=codec.dim,
            codec=codec.name,
            bytes_per_token=codec.bytes_per_token,
            parameters=self._open.parameters,
            encoder=settings.encoder,
            index=settings.index,
            segments=(writer.finish(),) if writer.documents else (),
            report=None if sample is None else codec_report(codec, sample),
            pool=settings.pool,
        )
        target, scratch = self._place.target, self._place.scratch
        disk.write_new(target / manifest_name(1), manifest.to_json())
        for name in (PARAMETERS, SEGMENT):
            if any(file.name.startswith(f"{name}/") for file in manifest.files()):
                disk.sync_folder(scratch / name)
                disk.rename(scratch / name, target / name)

    # -- going on ------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        assert self._open is not None
        writer = self._open.writer
        writer.sync()
        facts = {
            "plan": self._settings.plan,
            "dim": self._open.codec.dim,
            "parameters": [asdict(file) for file in self._open.parameters],
            "kept": [writer.documents, writer.tokens],
            "digests": writer.digests,
            "content": self._content.hexdigest(),
        }
        write_checkpoint(self._checkpoint, facts)

    def _restored(self) -> int:
        """Opens what an interrupted run wrote. Returns its documents, 0 where there is nothing to go on from."""
        facts = read_checkpoint(self._checkpoint)
        if facts is None:
            return 0
        if facts.get("plan") != self._settings.plan:
            raise self._refusal("the interrupted build had another codec, encoder, index, sample or pooling")
        scratch = self._place.scratch
        try:
            parameters = file_entries(facts["parameters"])
            documents, tokens = facts["kept"]
            codec = read_codec(scratch, self._settings.codec, facts["dim"], parameters)
            writer = SegmentWriter(scratch, SEGMENT, codec.bytes_per_token, (documents, tokens))
            if writer.digests != facts["digests"]:
                writer.close()
                raise ValueError("codes")
        except (KeyError, TypeError, ValueError, AttributeError, CorruptIndex):
            logger.warning("%s: what an interrupted build left is damaged; starting afresh", scratch)
            return 0
        self._open, self._wanted = _Open(codec, parameters, writer), str(facts["content"])
        return int(documents)

    def _check_content(self) -> None:
        if self._content.hexdigest() != self._wanted:
            raise self._refusal("the interrupted build had other documents")

    def _refusal(self, what: str) -> StorageError:
        return StorageError(f"{self._place.scratch.parent}: {what}; delete that folder to start afresh")


def _untrained(settings: BuildSettings, dim: int) -> Codec | None:
    """The codec, if it is one that has not to be trained."""
    if settings.size is not None:
        return None
    try:
        return codec_class(settings.codec).from_parameters(dim, {})
    except InvalidInput:
        return None


def _sample(held: Sequence[TokenVectors], count: int) -> tuple[Floats, npt.NDArray[np.uint32] | None]:
    """The first tokens of some batches: their vectors, and their wordpieces where all have them."""
    vectors = np.concatenate([batch.vectors for batch in held])[:count]
    tokens = [batch.tokens for batch in held if batch.tokens is not None]
    return vectors, np.concatenate(tokens)[:count] if len(tokens) == len(held) else None
