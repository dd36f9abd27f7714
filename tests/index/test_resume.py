"""An interrupted build leaves nothing, or with `resume` what the next one goes on from: the same index or a refusal."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xxhash

import lsr
from lsr import Index
from lsr.encoders import DocumentEncoder
from lsr.errors import OutputExists, StorageError
from lsr.index import new_segment
from lsr.index.storage import folder
from lsr.index.storage.check import check_index
from tests.conftest import random_vectors
from tests.index.encoders import with_other_weights

TEXTS = [
    f"text number {i} about {topic}" for i in range(20) for topic in ("logs", "files", "sparse vectors", "sorting")
]
BATCH = 16
DONE = 32  # two batches, when it is interrupted after 50 documents: the third was under way


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.build(TEXTS, tmp_path_factory.mktemp("whole") / "my.idx", batch_size=BATCH)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an interrupted run left."""
    folder = tmp_path_factory.mktemp("left")
    interrupt(folder)
    return folder


@pytest.fixture
def scratch(left: Path, tmp_path: Path) -> Path:
    """The vectors and the checkpoint of an interrupted run."""
    shutil.copytree(left, tmp_path, dirs_exist_ok=True)
    (found,) = tmp_path.rglob("scratch")
    return found


def interrupted(after: int) -> Iterator[str]:
    yield from TEXTS[:after]
    raise KeyboardInterrupt


def interrupt(where: Path, after: int = 50) -> Path:
    with pytest.raises(KeyboardInterrupt):
        resumed(where, interrupted(after))
    (found,) = where.rglob("scratch")
    return found


@functools.cache
def bundled() -> lsr.Encoder:
    """Loaded once: that takes as long as a build."""
    return lsr.load_encoder()


def resumed(where: Path, texts: Iterable[str] = TEXTS, **options: Any) -> Index:
    options = {"encoder": bundled(), "batch_size": BATCH, "resume": True, **options}
    return Index.build(texts, where / "my.idx", **options)


def went_on_after(index: Index) -> int:
    assert index.build_report is not None
    return index.build_report.resumed


def tree(index: Index) -> dict[str, str]:
    """Every file but the manifest, whose time differs."""
    return {
        str(path.relative_to(index.path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(index.path.rglob("*"))
        if path.is_file() and not path.name.startswith("manifest")
    }


def names(where: Path) -> list[str]:
    return sorted(path.name for path in where.iterdir())


def test_without_resume_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Index.build(interrupted(50), tmp_path / "my.idx", batch_size=BATCH)
    assert names(tmp_path) == []


def test_a_resumed_build_encodes_the_rest_and_gives_the_same_bytes(
    whole: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(tmp_path, 35)
    interrupt(tmp_path, 50)
    encoded: list[int] = []
    encode = DocumentEncoder.encode_parts

    def counting(self: DocumentEncoder, parts: Any, counts: Any = None) -> Iterator[lsr.SparseVectors]:
        for vectors in encode(self, parts, counts):
            encoded.append(len(vectors))
            yield vectors

    monkeypatch.setattr(DocumentEncoder, "encode_parts", counting)
    index = resumed(tmp_path)
    assert sum(encoded) == len(TEXTS) - DONE
    assert went_on_after(index) == DONE
    assert tree(index) == tree(whole)
    assert index.info()["source"] == whole.info()["source"]
    assert names(tmp_path) == ["my.idx"]


def test_a_run_may_go_on_in_batches_of_another_size(whole: Index, scratch: Path, tmp_path: Path) -> None:
    index = Index.build(TEXTS, tmp_path / "my.idx", batch_size=7, resume=True)
    assert went_on_after(index) == DONE
    assert index.search("sorting", k=5)[0].id == whole.search("sorting", k=5)[0].id


def test_nothing_is_encoded_again_when_all_was(whole: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full when the postings are written: after hours of encoding."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(new_segment, "write_arrays", full)
        with pytest.raises(StorageError, match=r"No space left on device\); what was done is kept in .* for --resume"):
            resumed(tmp_path)
    index = resumed(tmp_path)
    assert went_on_after(index) == len(TEXTS)
    assert tree(index) == tree(whole)


def test_nothing_is_lost_when_the_last_step_fails(
    whole: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt_it(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder, "_replace", interrupt_it)
        with pytest.raises(KeyboardInterrupt):
            resumed(tmp_path)
    index = resumed(tmp_path)
    assert went_on_after(index) == len(TEXTS)
    assert tree(index) == tree(whole)


def test_an_old_index_stays_until_the_resumed_build_is_complete(tmp_path: Path) -> None:
    old = Index.build(["old"], tmp_path / "my.idx")
    with pytest.raises(KeyboardInterrupt):
        resumed(tmp_path, interrupted(50), overwrite=True)
    assert len(Index.open(old.path)) == 1
    with pytest.raises(OutputExists):
        resumed(tmp_path)
    assert went_on_after(resumed(tmp_path, overwrite=True)) == DONE
    assert names(tmp_path) == ["my.idx"]


# -- what an interrupted run left is not trusted -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lengths", "terms", "values"])
@pytest.mark.parametrize("damage", ["one byte short", "half", "empty", "missing", "first byte", "last byte"])
def test_damaged_vectors_are_refused(tmp_path: Path, scratch: Path, name: str, damage: str) -> None:
    file = scratch / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        altered = {
            "one byte short": content[:-1],
            "half": content[: len(content) // 2],
            "empty": b"",
            "first byte": bytes([content[0] ^ 1]) + content[1:],
            "last byte": content[:-1] + bytes([content[-1] ^ 128]),
        }
        file.write_bytes(altered[damage])
    with pytest.raises(StorageError, match=r"the vectors of the interrupted run are damaged; delete that folder"):
        resumed(tmp_path)
    file.write_bytes(content)
    assert went_on_after(resumed(tmp_path)) == DONE


def test_vectors_after_the_checkpoint_are_dropped(whole: Index, tmp_path: Path, scratch: Path) -> None:
    """A run was killed while it wrote a batch."""
    for name in ("lengths", "terms", "values"):
        with (scratch / name).open("ab") as file:
            file.write(b"half a batch")
    assert tree(resumed(tmp_path)) == tree(whole)


def with_digest(body: bytes) -> bytes:
    return xxhash.xxh3_128_hexdigest(body).encode() + b"\n" + body


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", *map(with_digest, (b"", b"{", b"[]", b"{}", b'{"encoder": "x"}', b"null", b"\xff"))],
)
def test_without_a_checkpoint_that_can_be_read_a_run_starts_afresh(
    whole: Index, tmp_path: Path, scratch: Path, content: bytes
) -> None:
    (scratch / "checkpoint").write_bytes(content)
    index = resumed(tmp_path)
    assert went_on_after(index) == 0
    assert tree(index) == tree(whole)


def test_a_checkpoint_that_lacks_something_is_of_no_use(tmp_path: Path, scratch: Path) -> None:
    state = json.loads((scratch / "checkpoint").read_bytes().partition(b"\n")[2])
    for name in state:
        fewer = {key: value for key, value in state.items() if key != name}
        (scratch / "checkpoint").write_bytes(with_digest(json.dumps(fewer).encode()))
        index = resumed(tmp_path, TEXTS[:5], overwrite=True)
        assert went_on_after(index) == 0
        scratch.mkdir(parents=True)


@pytest.mark.parametrize("at", [0, 40, 0.5, -1])
def test_an_altered_checkpoint_never_makes_another_index(
    whole: Index, tmp_path: Path, scratch: Path, at: float
) -> None:
    content = bytearray((scratch / "checkpoint").read_bytes())
    content[int(at * len(content)) if at == 0.5 else int(at)] ^= 1
    (scratch / "checkpoint").write_bytes(content)
    index = resumed(tmp_path)
    assert tree(index) == tree(whole)
    assert index.info()["source"] == whole.info()["source"]


@pytest.mark.parametrize("change", ["first", "last", "shorter", "order"])
def test_other_documents_are_not_mixed_with_those_of_the_interrupted_run(
    tmp_path: Path, scratch: Path, change: str
) -> None:
    other = {
        "first": ["something else", *TEXTS[1:]],
        "last": [*TEXTS[: DONE - 1], "something else", *TEXTS[DONE:]],
        "shorter": TEXTS[: DONE - 1],
        "order": [TEXTS[1], TEXTS[0], *TEXTS[2:]],
    }
    with pytest.raises(StorageError, match=r"\.partial: the interrupted run had other documents; delete that folder"):
        resumed(tmp_path, other[change])
    assert went_on_after(resumed(tmp_path)) == DONE


def test_documents_after_those_that_were_encoded_may_differ(tmp_path: Path, scratch: Path) -> None:
    index = resumed(tmp_path, [*TEXTS[:DONE], "eigenvalues"])
    assert (went_on_after(index), len(index)) == (DONE, DONE + 1)
    assert index.search("eigenvalues")[0].row == DONE


def test_vectors_of_another_encoder_are_not_mixed_in(tmp_path: Path, scratch: Path) -> None:
    lsr.load_encoder().save(tmp_path / "same")
    with pytest.raises(StorageError, match="the interrupted run had another encoder, --max-length, --long or"):
        resumed(tmp_path, encoder=with_other_weights(tmp_path / "same", tmp_path / "other"))
    with pytest.raises(StorageError, match="the interrupted run had another encoder, --max-length, --long or"):
        resumed(tmp_path, encoder=None, max_length=64)
    assert went_on_after(resumed(tmp_path, encoder=tmp_path / "same")) == DONE


@pytest.mark.parametrize("keep_text", [False, True])
def test_texts_are_kept_as_the_last_run_wants(tmp_path: Path, keep_text: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        resumed(tmp_path, interrupted(50), keep_text=not keep_text)
    index = resumed(tmp_path, keep_text=keep_text)
    assert went_on_after(index) == DONE
    record = index.record_of(0)
    assert (record.text if record else None) == (TEXTS[0] if keep_text else None)
    on_disk = {str(file.relative_to(index.path)) for file in index.path.rglob("*") if file.is_file()}
    assert on_disk == {*(file.name for file in index.manifest.files()), "manifest-000001.json"}


def test_files_of_a_run_that_was_killed_do_not_stay(tmp_path: Path, scratch: Path) -> None:
    """A killed run removes nothing, unlike an interrupted one."""
    (scratch.parent / "target" / "segment-0001").mkdir(parents=True)
    (scratch.parent / "target" / "segment-0001" / "postings_docs").write_text("half of them")
    (scratch.parent / "target" / "manifest-000009.json").write_text("{}")
    index = resumed(tmp_path)
    assert names(index.path) == ["encoder", "manifest-000001.json", "segment-0001"]
    list(check_index(index.path, full=True))


def test_vectors_are_no_part_of_what_is_resumed(tmp_path: Path, scratch: Path) -> None:
    """An index of vectors takes the place of the texts that were interrupted there."""
    index = Index.build(random_vectors(20, 50, 5), tmp_path / "my.idx", resume=True)
    assert len(index) == 20
    assert names(tmp_path) == ["my.idx"]


def test_a_failure_before_anything_is_done_leaves_no_litter(tmp_path: Path) -> None:
    vectors = random_vectors(20, 50, 5)
    with pytest.raises(lsr.errors.InvalidInput):
        Index.build(vectors, tmp_path / "my.idx", encoder="lsr-tiny", resume=True)
    assert names(tmp_path) == []
