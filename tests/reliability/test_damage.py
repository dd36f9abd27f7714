"""Files of an index are damaged at random: the full check finds all of it, and what opens neither crashes nor, once verified,
answers wrongly."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lsr import Index
from lsr.errors import CorruptIndex, LsrError, OutputExists
from lsr.index.storage.check import check_index
from lsr.index.storage.manifest import Manifest
from tests.reliability.report import report, scaled
from tests.reliability.samples import SAMPLES, build_samples, sample_queries

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no links and pipes")

KINDS = tuple(name for name in SAMPLES if name != "windows")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_samples(tmp_path_factory.mktemp("samples"), KINDS)


# -- damage ------------------------------------------------------------------------------------------------------------


def _flip(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    for _ in range(rng.choice([1, 1, 1, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    _put(file, bytes(content))


def _truncate(file: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    _put(file, content[: rng.choice([0, len(content) - 1, rng.randrange(len(content))])])


def _append(file: Path, rng: random.Random) -> None:
    _put(file, file.read_bytes() + rng.choice([b"\0", b"\n", b" ", b"}", bytes(100), b"x" * 4096]))


def _blank(file: Path, rng: random.Random) -> None:
    """Zeros from somewhere on, as after a power failure: the size was written, the content not."""
    content = file.read_bytes()
    start = rng.choice([0, rng.randrange(len(content)), len(content) // 4096 * 4096])
    _put(file, content[:start] + bytes(len(content) - start))


def _shift(file: Path, rng: random.Random) -> None:
    content = file.read_bytes()
    by = rng.randrange(1, len(content) + 1)
    _put(file, content[by:] + content[:by])


def _remove(file: Path, rng: random.Random) -> None:
    file.unlink()


def _link(file: Path, rng: random.Random) -> None:
    """A link to the very content."""
    elsewhere = file.with_name("elsewhere")
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def _link_to_nothing(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.symlink_to(rng.choice(["nowhere", "/dev/zero", file.name]))


def _pipe(file: Path, rng: random.Random) -> None:
    file.unlink()
    os.mkfifo(file)


def _folder(file: Path, rng: random.Random) -> None:
    file.unlink()
    file.mkdir()


def _link_the_folder(file: Path, rng: random.Random) -> None:
    """The folder that the file is in is a link to where it was; the index itself may be reached through a link."""
    folder = file.parent
    if folder.suffix == ".idx":
        _remove(file, rng)
        return
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.with_name("moved"))


def _put(file: Path, content: bytes) -> None:
    """Not in place: the file is shared with the sample."""
    file.unlink()
    file.write_bytes(content)


DAMAGES: dict[Callable[[Path, random.Random], None], int] = {
    _flip: 40,
    _truncate: 12,
    _append: 8,
    _blank: 6,
    _shift: 4,
    _remove: 6,
    _link: 4,
    _link_to_nothing: 3,
    _pipe: 3,
    _folder: 3,
    _link_the_folder: 2,
}


def damage(index: Path, rng: random.Random) -> tuple[str, str]:
    """Damages one or two files; returns how, and the name of the one."""
    manifest = next(index.glob("manifest-*.json"))
    files = [index / entry.name for entry in Manifest.read(index).files()]
    filled = [file for file in files if file.stat().st_size]
    if rng.random() < 0.06:  # swapped
        one, other = rng.sample(filled, 2)
        contents = one.read_bytes(), other.read_bytes()
        if contents[0] != contents[1]:
            _put(one, contents[1])
            _put(other, contents[0])
            return "swap", str(one.relative_to(index))
    how = rng.choices(list(DAMAGES), list(DAMAGES.values()))[0]
    of_content = how in (_flip, _truncate, _blank, _shift)  # of which an empty file has none
    file = manifest if rng.random() < 0.15 else rng.choice(filled if of_content else files)
    name = str(file.relative_to(index))
    before = file.read_bytes()
    how(file, rng)
    if file.is_file() and not file.is_symlink() and not file.parent.is_symlink() and file.read_bytes() == before:
        _remove(file, rng)  # zeros for zeros are no damage
        return "remove", name
    return how.__name__.strip("_"), name


# -- what is asked of an index -----------------------------------------------------------------------------------------


def answers(index: Index) -> list[Any]:
    """What searches and look-ups give."""
    queries = sample_queries(index.dim)
    found: list[Any] = []
    asked = [{"year": {">=": 2005}}, 'lang == "en" or tags == "a"'] if index.info()["fields"] else [["d1", "d2", "d60"]]
    for recall, filter in ((1, None), (None, None), *((1, one) for one in asked)):
        for hits in index.search(queries, 7, recall=recall, filter=filter, threads=1):
            found.append([(hit.id, hit.score, hit.title, hit.text, hit.metadata) for hit in hits])
            found.append([str(hit.explain()) for hit in hits[:2]])
    if index.query_encoder is not None:
        found += [index.search(text, 5).ids for text in ("w3 w4", "W7 w10 nothing")]
    found += [[batch.ids, batch.indices.tolist(), batch.values.tolist()] for batch in index.batches(50)]
    found += [[array.tolist() for array in index.statistics()], index.row_of("d60"), index.tokens]
    return found


def outcome(path: Path, right: list[Any], *, verify: bool = False) -> str:
    """Whether opening or asking raised an error of lsr's, or the answers are right. Any other error is one."""
    try:
        index = Index.open(path, verify=verify)
    except LsrError:
        return "refused at open"
    try:
        return "right" if answers(index) == right else "wrong"
    except LsrError:
        return "refused later"


def found(path: Path) -> bool:
    """Whether the full check raises an error, in one line."""
    try:
        list(check_index(path, full=True))
    except LsrError as error:
        return len(str(error).splitlines()) == 1
    return False


def run(samples: dict[str, Path], folder: Path, count: int, seed: int) -> Counter[str]:
    rights = {name: answers(Index.open(path)) for name, path in samples.items()}
    seen: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        kind = rng.choice(list(samples))
        path = folder / f"{number}.idx"
        shutil.copytree(samples[kind], path, copy_function=os.link)
        how, name = damage(path, rng)
        said = f"damage {seed}-{number}: {how} of {name} in {kind}"
        assert found(path), f"{said}: not found by the full check"
        plain, verified = outcome(path, rights[kind]), outcome(path, rights[kind], verify=True)
        assert verified == "refused at open", f"{said}: {verified} after verifying"
        if name.startswith(("manifest", "encoder/")):  # read as a whole before it is used
            assert plain != "wrong", f"{said}: wrong answers"
        seen[how] += 1
        seen[plain] += 1
        shutil.rmtree(path)
    return seen


def test_damage_is_found_and_never_crashes(samples: dict[str, Path], tmp_path: Path) -> None:
    count = scaled(2_000)
    seen = run(samples, tmp_path, count, seed=1)
    report("random damage", cases=count, **seen)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_much_damage_is_found_and_never_crashes(samples: dict[str, Path], tmp_path: Path, seed: int) -> None:
    count = scaled(5_000)
    seen = run(samples, tmp_path, count, seed)
    report("random damage, long", cases=count, **seen)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_index_is_verified(samples: dict[str, Path], kind: str) -> None:
    assert answers(Index.open(samples[kind], verify=True)) == answers(Index.open(samples[kind]))


def test_white_space_in_the_manifest_is_damage_but_does_no_harm(samples: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "my.idx"
    shutil.copytree(samples["exact"], path)
    with (path / "manifest-000001.json").open("ab") as file:
        file.write(b"\n")
    assert answers(Index.open(path)) == answers(Index.open(samples["exact"]))
    for full_check in (lambda: Index.open(path, verify=True), lambda: list(check_index(path, full=True))):
        with pytest.raises(CorruptIndex, match="not as it was written"):
            full_check()


def test_a_pipe_is_refused_and_not_waited_for(samples: dict[str, Path], tmp_path: Path) -> None:
    for name in ("manifest-000001.json", "segment-0001/forward_codes"):
        path = tmp_path / name.replace("/", "-") / "my.idx"
        shutil.copytree(samples["exact"], path)
        _pipe(path / name, random.Random())
        with pytest.raises(CorruptIndex, match="not a regular file"):
            Index.open(path)
        with pytest.raises(OutputExists, match=r"is not an index|an index is there already"):
            Index.build(sample_queries(60), path)


def test_a_segment_behind_a_link_is_refused(samples: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "my.idx"
    shutil.copytree(samples["exact"], path)
    _link_the_folder(path / "segment-0001" / "forward_codes", random.Random())
    with pytest.raises(CorruptIndex, match="a link, not a folder"):
        Index.open(path)
    (tmp_path / "other.idx").symlink_to(samples["exact"])  # the index as a whole may be behind one
    assert len(Index.open(tmp_path / "other.idx", verify=True)) == 90
