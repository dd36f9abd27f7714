"""Documents to a file of vectors: what it holds, what an interrupted run leaves, and what is refused."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lsr
from lsr import Encoder, SparseVectors
from lsr.encoders import statistics
from lsr.errors import CorpusError, DuplicateId, InvalidInput, OutputExists, StorageError
from lsr.index.reading import Reading
from lsr.index.segment_writer import Spool
from lsr.index.vectors_file import EncodingReport, encode_to_file
from tests.conftest import REPOSITORY
from tests.index.encoders import with_other_weights

FORMATS = ["npz", "jsonl", "jsonl.gz", "parquet"]
TOPICS = ("logs", "files", "sparse vectors", "naïve “sorting”")
DOCUMENTS = [{"id": f"ä {i}", "text": f"text {i} about {TOPICS[i % 4]}" if i else ""} for i in range(200)]
Files = dict[str, bytes]  # a file of each format
BATCH = 32
DONE = 64  # two batches, when it is interrupted after 100 documents: the third was under way


@cache
def bundled() -> Encoder:
    return lsr.load_encoder()


@cache
def expected() -> SparseVectors:
    return bundled().encode_documents([document["text"] for document in DOCUMENTS])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Those of a run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    for form in FORMATS:
        encoded(folder / f"docs.{form}")
    return {form: (folder / f"docs.{form}").read_bytes() for form in FORMATS}


def encoded(output: Path, source: Iterable[Any] = DOCUMENTS, settings: Any = None, **options: Any) -> EncodingReport:
    encoder = options.pop("encoder", None if settings else bundled())  # which need not be loaded each time
    return encode_to_file(source, output, encoder, Reading(batch_size=BATCH, **(settings or {})), **options)


def interrupted(after: int = 100) -> Iterator[dict[str, str]]:
    yield from DOCUMENTS[:after]
    raise KeyboardInterrupt


def killed(after: int = 100) -> Iterator[dict[str, str]]:
    yield from DOCUMENTS[:after]
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt(output: Path, after: int = 100) -> None:
    with pytest.raises(KeyboardInterrupt):
        encoded(output, interrupted(after), resume=True)


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows_of(path: Path) -> tuple[list[str], list[tuple[list[int], list[float]]]]:
    """Ids, and terms with weights, as other programs read the file: without lsr, but for .npz."""
    if path.name.endswith(".npz"):
        vectors = SparseVectors.load(path)
        return list(vectors.ids or ()), rows(vectors)
    if path.name.endswith(".parquet"):
        import pyarrow.parquet as pq

        table = pq.read_table(path).to_pydict()
        return table["id"], list(zip(table["indices"], table["values"], strict=True))
    terms = {token: term for term, token in enumerate(bundled().vocabulary.tokens)}
    content = path.read_bytes()
    lines = (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()
    records = [json.loads(line) for line in lines]
    found = [([terms[t] for t in r["vector"]], [float(np.float32(w)) for w in r["vector"].values()]) for r in records]
    return [record["id"] for record in records], found


def rows(vectors: SparseVectors) -> list[tuple[list[int], list[float]]]:
    return [(terms.tolist(), weights.tolist()) for terms, weights in vectors]


# -- what the file holds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_holds_the_ids_and_the_very_vectors_of_the_encoder(whole: Files, tmp_path: Path, form: str) -> None:
    (tmp_path / f"docs.{form}").write_bytes(whole[form])
    ids = [document["id"] for document in DOCUMENTS]
    assert rows_of(tmp_path / f"docs.{form}") == (ids, rows(expected()))


def test_the_report_says_how_sparse_the_vectors_are_and_what_was_cut(tmp_path: Path) -> None:
    report = encoded(tmp_path / "docs.npz")
    assert (report.statistics, report.truncated, report.resumed) == (statistics(expected()), 0, 0)
    report = encoded(tmp_path / "cut.npz", ["a few words", *["many words " * 20] * 2], {"max_length": 16})
    assert (report.truncated, report.reading["max_length"], report.reading["long"]) == (2, 16, "truncate")


@pytest.mark.parametrize("form", FORMATS)
def test_a_long_run_in_small_batches_gives_the_bytes_of_one_batch(whole: Files, tmp_path: Path, form: str) -> None:
    for size in (7, len(DOCUMENTS)):
        encode_to_file(DOCUMENTS, tmp_path / f"{size}.{form}", bundled(), Reading(batch_size=size))
        assert (tmp_path / f"{size}.{form}").read_bytes() == whole[form]


# -- interrupted runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_a_resumed_run_encodes_the_rest_and_gives_the_same_bytes(whole: Files, tmp_path: Path, form: str) -> None:
    output = tmp_path / f"docs.{form}"
    interrupt(output, 40)
    interrupt(output, 100)
    assert not output.exists()
    report = encoded(output, resume=True)
    assert (report.resumed, report.statistics) == (DONE, statistics(expected()))
    assert output.read_bytes() == whole[form]
    assert names(tmp_path) == [output.name]


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("form", ["npz", "jsonl"])
def test_a_killed_run_leaves_what_the_next_one_goes_on_from(whole: Files, tmp_path: Path, form: str) -> None:
    output = tmp_path / f"docs.{form}"
    code = (
        f"from tests.index import test_vectors_file as t; t.encoded(t.Path({str(output)!r}), t.killed(), resume=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) == [f".{output.name}.partial"]
    assert encoded(output, resume=True).resumed == DONE
    assert output.read_bytes() == whole[form]
    assert names(tmp_path) == [output.name]


def test_without_resume_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encoded(tmp_path / "docs.jsonl", interrupted())
    assert names(tmp_path) == []


def test_other_documents_are_not_mixed_with_those_of_the_interrupted_run(tmp_path: Path) -> None:
    output = tmp_path / "docs.npz"
    interrupt(output)
    other_text, other_id = ([{**DOCUMENTS[0], key: "other"}, *DOCUMENTS[1:]] for key in ("text", "id"))
    for source in (other_text, other_id, DOCUMENTS[: DONE - 1], DOCUMENTS[1:]):
        with pytest.raises(StorageError, match="the interrupted run had other documents; delete that folder"):
            encoded(output, source, resume=True)
    assert encoded(output, resume=True).resumed == DONE


def test_vectors_of_other_settings_are_not_mixed_in(tmp_path: Path) -> None:
    output = tmp_path / "docs.npz"
    bundled().save(tmp_path / "same")
    other = with_other_weights(tmp_path / "same", tmp_path / "other")
    interrupt(output)
    says = "the interrupted run had another encoder, --max-length, --long or"
    for settings in ({"max_length": 64}, {"long": "windows"}, {"long": "windows", "stride": 9}):
        with pytest.raises(StorageError, match=says):
            encoded(output, DOCUMENTS, settings, resume=True)
    with pytest.raises(StorageError, match=says):
        encoded(output, resume=True, encoder=other)
    assert encoded(output, resume=True, encoder=tmp_path / "same").resumed == DONE


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_file_that_is_there_stays_unless_told_otherwise(whole: Files, tmp_path: Path) -> None:
    output = tmp_path / "docs.npz"
    output.write_bytes(b"old")
    with pytest.raises(OutputExists, match=r"docs\.npz: a file is there already; --overwrite"):
        encoded(output, resume=True)
    with pytest.raises(KeyboardInterrupt):
        encoded(output, interrupted(), overwrite=True)
    assert (output.read_bytes(), names(tmp_path)) == (b"old", ["docs.npz"])
    encoded(output, overwrite=True)
    assert (output.read_bytes(), names(tmp_path)) == (whole["npz"], ["docs.npz"])


def test_what_cannot_be_gone_on_from_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(CorpusError):
        encoded(tmp_path / "docs.npz", [], resume=True)
    (tmp_path / "folder.npz").mkdir()
    for overwrite in (False, True):
        with pytest.raises(OutputExists, match="a folder; give the name of a file"):
            encoded(tmp_path / "folder.npz", overwrite=overwrite)
    assert names(tmp_path) == ["folder.npz"]


@pytest.mark.parametrize("name", ["docs.txt", "docs", "docs.json", "docs.npz.gz", ".npz", ".jsonl.gz"])
def test_a_name_of_no_format_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    source = iter(DOCUMENTS)
    with pytest.raises(InvalidInput, match=re.escape(f"{name}: vectors are written as .npz, .jsonl, .jsonl.gz, .parq")):
        encoded(tmp_path / name, source)
    assert next(source) == DOCUMENTS[0]
    assert names(tmp_path) == []


def test_no_documents_and_repeated_ids_make_no_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no documents"):
        encoded(tmp_path / "docs.parquet", [])
    with pytest.raises(DuplicateId, match="document 200: the id 'ä 3' is also that of document 3"):
        encoded(tmp_path / "docs.jsonl", [*DOCUMENTS, DOCUMENTS[3]])
    assert names(tmp_path) == []


@pytest.mark.parametrize(("place", "name", "done"), [(Spool, "append", 0), (np, "savez", len(DOCUMENTS))])
def test_a_full_disk_is_one_error_that_names_the_file(
    whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, done: int
) -> None:
    output = tmp_path / "docs.npz"
    says = rf"^{re.escape(str(output))}: cannot be written \(No space left on device"
    with monkeypatch.context() as patch:
        patch.setattr(place, name, full)
        with pytest.raises(StorageError, match=says):
            encoded(output)
        assert names(tmp_path) == []
        with pytest.raises(StorageError, match=says):
            encoded(output, resume=True)
    assert encoded(output, resume=True).resumed == done
    assert output.read_bytes() == whole["npz"]


@pytest.mark.parametrize(("empty", "warned"), [(3, True), (2, False)])
def test_an_encoder_that_gives_empty_vectors_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, empty: int, warned: bool
) -> None:
    monkeypatch.setattr(logging.getLogger("lsr"), "propagate", True)  # the command line turns it off
    encoded(tmp_path / "docs.npz", [""] * empty + ["words"] * (5 - empty))
    says = f"the first 5 documents: {empty} of 5 vectors are empty: is this the right model for the texts?"
    assert [record.getMessage() for record in caplog.records] == [says] * warned
