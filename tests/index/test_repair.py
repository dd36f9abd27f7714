"""Going back to an earlier generation: `repair`, and `lsr repair`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lsr import Index
from lsr.errors import CorruptIndex, IndexLocked, IndexNotFound, InvalidInput, UnsupportedVersion
from lsr.index.storage.check import check_index
from lsr.index.storage.generations import manifest_name
from lsr.index.storage.locks import writing
from lsr.index.storage.manifest import Manifest
from lsr.index.storage.repair import generations, repair
from tests.cli.commands import lsr
from tests.reliability.collections import Doc, source

DOCUMENTS = [Doc(f"d{number}", {number % 5: 1 + number % 3}) for number in range(12)]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    """An index whose second generation holds two documents more than its first."""
    built = Index.build(source(DOCUMENTS[:10]), tmp_path / "my.idx")
    built.add(source(DOCUMENTS[10:]))
    return built


def ids(index: Index) -> list[str]:
    return [index.id_of(row) for row in range(len(index))]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["manifest", "segment"])
def test_a_damaged_generation_is_given_up_for_the_one_before(index: Index, damage: str) -> None:
    newest = index.manifest.segments[-1].files[0].name
    flip(index.path / (manifest_name(2) if damage == "manifest" else newest))
    found = generations(index.path)
    assert [(one.number, one.fault is None) for one in found] == [(2, False), (1, True)]
    assert found[0].documents == (None if damage == "manifest" else 12)
    assert repair(index.path, 1).generation == 3  # readers of generation 2 move on, never back
    repaired = Index.open(index.path)
    assert ids(repaired) == [one.id for one in DOCUMENTS[:10]]
    list(check_index(index.path, full=True))
    assert index.refresh()
    assert ids(index) == ids(repaired)
    # Work goes on, and what is damaged is cleared away with time.
    for number in range(3):
        repaired.upsert(source([Doc("new", {1: number + 1})]))
    assert all(one.fault is None for one in generations(index.path))
    assert not (index.path / newest).exists()


def test_a_change_can_be_taken_back_and_made_again(index: Index) -> None:
    index.delete(["d0"])
    repair(index.path, 2)
    assert ids(Index.open(index.path)) == [one.id for one in DOCUMENTS]
    repair(index.path, 3)
    assert ids(Index.open(index.path)) == [one.id for one in DOCUMENTS[1:]]


def test_what_cannot_be_gone_back_to_is_refused(index: Index, tmp_path: Path) -> None:
    before = sorted(path.name for path in index.path.iterdir())
    with pytest.raises(InvalidInput, match="holds no generation 7, only 1, 2"):
        repair(index.path, 7)
    with pytest.raises(InvalidInput, match="generation 2 is the newest, and sound"):
        repair(index.path, 2)
    with writing(index.path), pytest.raises(IndexLocked):
        repair(index.path, 1)
    with pytest.raises(IndexNotFound):
        repair(tmp_path, 1)
    assert not (tmp_path / "LOCK").exists()
    for segment in ("segment-0001", "segment-0002"):
        flip(index.path / segment / "forward_codes")
    for generation in (1, 2):
        with pytest.raises(CorruptIndex, match="altered"):
            repair(index.path, generation)
    assert sorted(path.name for path in index.path.iterdir()) == before


def test_a_generation_that_a_newer_lsr_wrote_is_not_given_up(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Manifest, "form", replace(Manifest.form, version=(3, 9)))
    with pytest.raises(UnsupportedVersion):
        repair(index.path, 1)
    assert sorted(manifest.name for manifest in index.path.glob("manifest-*")) == [manifest_name(1), manifest_name(2)]


def test_the_command_checks_all_generations_and_goes_back_to_one(index: Index) -> None:
    done = lsr("repair", index.path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "generation 2, 12 documents: sound\ngeneration 1, 10 documents: sound\n"

    flip(index.path / manifest_name(2))
    done = lsr("repair", index.path)
    assert done.returncode == 1
    assert "generation 2: " in done.stdout
    assert "generation 1, 10 documents: sound" in done.stdout
    assert done.stderr == f"Next: lsr repair {index.path} --to-generation 1\n"
    done = lsr("repair", index.path, "--json")
    assert [one["fault"] is None for one in json.loads(done.stdout)["generations"]] == [False, True]

    done = lsr("repair", index.path, "--to-generation", "1")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"generation 3 is generation 1 again: 10 documents in {index.path}\n"
    assert lsr("check", index.path, "--full").returncode == 0
    done = lsr("repair", index.path, "--to-generation", "9")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
