"""Whatever the bytes, each public loader gives a value or an error of lsr in one line: in time, in memory, without a signal.

    pytest tests/reliability/test_parsers.py                 2,000 cases, the same in every run
    pytest -m slow tests/reliability/test_parsers.py         30 minutes a loader, times LSR_RELIABILITY_SCALE
    python -m tests.reliability.fuzzer LOADER NUMBER         one case, with its file

A failure names loader and number. What was found so far is at the end, each as small as it can be.
"""

from __future__ import annotations

import json
import os
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lsr
from lsr import LsrError, SparseVectors, load_encoder
from lsr.errors import CorpusError, EncoderError, InvalidInput, StorageError
from tests.reliability import models
from tests.reliability.byte_mutations import mutated
from tests.reliability.report import report

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")

if sys.platform == "linux":
    from tests.reliability.fuzzer import Outcome, fuzz
    from tests.reliability.loaders import LOADERS

QUICK = 2000
SECONDS = 30 * 60 * float(os.environ.get("LSR_RELIABILITY_SCALE", "1"))
QUICK_LOADERS = [name for name, loader in LOADERS.items() if not loader.slow]


def check(outcome: Outcome, kind: str) -> None:
    figures = {"cases": outcome.cases, "read": outcome.read, "refused": outcome.refused, "seconds": outcome.seconds}
    report(f"parsers-{kind}", loader=outcome.loader, failures=len(outcome.failures), **figures)
    first = "\n\n".join(f"{one.loader} {one.number}: {one.what}" for one in outcome.failures[:3])
    assert not outcome.failures, f"{len(outcome.failures)} of {outcome.cases} cases\n{first}"
    # Neither is everything refused at the door, nor are the files as they were.
    assert outcome.read > 0
    assert outcome.refused > 0


def test_mutated_files_are_read_or_refused() -> None:
    for outcome in fuzz(*QUICK_LOADERS, cases=-(-QUICK // len(QUICK_LOADERS))):
        check(outcome, "quick")


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_mutated_files_are_read_or_refused_for_long(name: str) -> None:
    (outcome,) = fuzz(name, seconds=SECONDS, first=1_000_000)
    check(outcome, "long")


# -- the fuzzer itself -------------------------------------------------------------------------------------------------


def fail(path: Path) -> object:
    raise KeyError("not ours")


def waste(path: Path) -> object:
    return bytearray(1 << 42)


def die(path: Path) -> object:
    os.abort()


def warn(path: Path) -> object:
    import warnings

    warnings.warn("careful", stacklevel=1)
    return None


@pytest.mark.parametrize(
    ("broken", "says"), [(fail, "KeyError"), (waste, "MemoryError"), (die, "SIGABRT"), (warn, "UserWarning: careful")]
)
def test_the_fuzzer_finds_a_loader_that_is_broken(broken: Callable[[Path], object], says: str) -> None:
    (outcome,) = fuzz(f"broken:{broken.__name__}", cases=2)
    assert outcome.cases == 2
    assert [one.number for one in outcome.failures] == [0, 1]
    assert all(says in one.what for one in outcome.failures)


def test_mutations_are_told_by_their_seed_and_differ() -> None:
    seed = b'{"id": 1, "values": [1, 2, 3]}'
    several = [mutated("a.json", seed, [seed], random.Random(number)) for number in range(200)]
    assert several == [mutated("a.json", seed, [seed], random.Random(number)) for number in range(200)]
    assert len(set(several)) > 150
    assert sum(map(_is_json, several)) > 50, "some are well formed"
    assert sum(map(_is_json, several)) < 150, "and some are not"


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


# -- what was found ----------------------------------------------------------------------------------------------------


def npy(header: bytes, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + body


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<i8', 'fortran_order': False, 'shape': (1,), ",  # Python's tokenizer: TokenError
        b"{'descr': '<i8', 'fortran_order': False, 'shape': (1L,), }",  # numpy warned of Python 2
        b"{'descr': '<M8[s]', 'fortran_order': False, 'shape': (1,), }",
        b"{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (1,), }",
        b"(" * 200,
        b"{'shape': (1,), 'shape': (1,), 'descr': '<i8'}",
    ],
)
def test_headers_of_arrays_are_no_python(header: bytes, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("lsr_version.npy", npy(header, bytes(8)))
    with pytest.raises(StorageError, match="not a file of sparse vectors"):
        SparseVectors.load(tmp_path / "v.npz")


def test_names_and_texts_in_a_message_stay_in_its_line() -> None:
    message = str(CorpusError(f"the field {'a' * 5000} is \x1b[31m\n\ud800 'ü'"))
    assert message.isprintable()
    assert message.endswith(r"\x1b[31m\n\ud800 'ü'")
    assert len(message) < 2100


NO_NAMES = ["x" * 300, "x/" * 3000, "x" * 300 + ".json", "a\0b", "a\0.json", "\ud800", "~nobody-here/x"]


@pytest.mark.parametrize("name", NO_NAMES, ids=range(len(NO_NAMES)))
def test_what_cannot_be_a_path_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lsr.eval.datasets import open_dataset
    from lsr.eval.evaluate import report_again
    from lsr.eval.qrels import read_qrels
    from lsr.eval.reproduce import read_reproductions
    from lsr.eval.systems.spec import open_system
    from lsr.run_file import read_run

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    doors: list[Callable[[str], Any]] = [
        lambda path: list(lsr.read_documents(path)),
        lambda path: list(lsr.read_queries(path)),
        SparseVectors.load,
        lsr.open_vectors,
        lambda path: lsr.load_encoder(path, local_files_only=True),
        lambda path: lsr.load_encoder(query=path, local_files_only=True),
        lsr.Index.open,
        read_run,
        read_qrels,
        open_dataset,
        lambda path: report_again(Path(path), None),
        lambda path: read_reproductions(Path(path)),
        lambda path: open_system(path, local_files_only=True),
    ]
    if "nobody" not in name:
        vectors = SparseVectors(indptr=[0, 1], indices=[0], values=[1], dim=1)
        doors += [
            vectors.save,
            lambda path: lsr.write_vectors(vectors, path, "scipy"),
            lambda path: lsr.Index.build(vectors, path),
        ]
    for door in doors:
        with pytest.raises(LsrError):
            door(name)


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StorageError, match="a device or a pipe"):
        SparseVectors(indptr=[0], indices=[], values=[], dim=1).save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def edited(file: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def harm(folder: Path) -> None:
        value = json.loads((folder / file).read_bytes())
        changed = change(value)
        (folder / file).write_text(json.dumps(value if changed is None else changed), encoding="utf-8")

    return harm


def narrow(folder: Path) -> None:
    rows = np.ones((48, 11), np.float32)
    weights = {"encoder.weight": rows, "latent_bias": np.ones(48, np.float32), "pre_bias": np.ones(11, np.float32)}
    models.write_weights(folder / "4_CSRSparsity" / "model.safetensors", weights)


def with_prefix(tokenizer: Any) -> None:
    pieces = {"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "continuing_subword_prefix": "longer"}
    tokenizer["model"] = {"type": "BPE", **pieces}


Harm = Callable[[Path], object]
FOUND: dict[str, tuple[str, Harm, str]] = {
    "an activation that is a list": ("plain", edited("config.json", lambda c: c.update(hidden_act=[])), "hidden_act"),
    "architectures that are a number": (
        "plain",
        edited("config.json", lambda c: c.update(architectures=1.5)),
        "architec",
    ),
    "an epsilon of 400 digits": (
        "plain",
        edited("config.json", lambda c: c.update(layer_norm_eps=10**400)),
        "layer_norm",
    ),
    "padding that is a text": (
        "plain",
        edited("config.json", lambda c: c.update(model_type="roberta", pad_token_id="x")),
        "pad_token_id",
    ),
    "a switch of the tokenizer that is a number": (
        "word-pieces",
        edited("tokenizer_config.json", lambda c: c.update(strip_accents=7)),
        "strip_accents",
    ),
    "pieces shorter than the prefix of all: a panic of Rust": (
        "plain",
        edited("tokenizer.json", with_prefix),
        "out of range",
    ),
    "a token with the id 20,000,000: a list of as many": (
        "byte-pairs",
        edited("vocab.json", lambda v: v.update(ba=20_000_000)),
        "up to 20,000,000",
    ),
    "that of a tokenizer.json": (
        "plain",
        edited("tokenizer.json", lambda t: t["model"]["vocab"].update(ba=20_000_000)),
        "up to 20,000,000",
    ),
    "no token for unknown words, as the first text shows": (
        "exported",
        lambda folder: _retokenized(folder, lambda t: t["model"].update(unk_token="[NO]")),
        "tokenizer",
    ),
    "a tokenizer that is a text, to be lower case": (
        "splade",
        lambda folder: (folder / "tokenizer.json").write_text('"text"'),
        "tokenizer",
    ),
    "a pooling that is a number": ("csr", edited("1_Pooling/config.json", lambda c: 1.5), "must be a JSON object"),
    "a layer that is a text": ("csr", edited("2_Dense/config.json", lambda c: "x"), "must be a JSON object"),
    "an autoencoder for other numbers": ("csr", narrow, "takes 11 numbers"),
    "a module whose folder has a name too long": (
        "splade",
        edited("modules.json", lambda m: m[1].update(path="x" * 300)),
        "no name of a file",
    ),
    "half a character for a file": (
        "exported",
        edited("encoder.json", lambda e: e["files"].update({"\ud800": {"bytes": 1, "xxh3_128": "x"}})),
        "no such file",
    ),
    "terms without end": ("exported-network", edited("encoder.json", lambda e: e.update(dim=1 << 40)), "dim is"),
}


def _retokenized(folder: Path, change: Callable[[Any], Any]) -> None:
    from tests.reliability.loaders import repair_encoder

    edited("tokenizer.json", change)(folder)
    repair_encoder(folder, "tokenizer.json", random.Random(1))


@pytest.mark.parametrize("what", FOUND)
def test_a_damaged_model_is_refused(what: str, tmp_path: Path) -> None:
    layout, harm, says = FOUND[what]
    folder = models.LAYOUTS[layout](tmp_path / "model")
    harm(folder)
    with pytest.raises(EncoderError, match=says):
        used(folder)


def used(folder: Path) -> None:
    encoder = load_encoder(folder, threads=1, engine="onnx" if (folder / "config.json").exists() else None)
    encoder.encode_query(["ba xyz"])
    encoder.encode_documents([models.TEXT])


@pytest.mark.parametrize(
    "value", ["[" * 3000, "2024-13-45", "9" * 5000, "!!int ''", "!!bool x", "!!timestamp x", "9" * 400]
)
def test_yaml_that_its_library_cannot_make_values_of_is_refused(value: str, tmp_path: Path) -> None:
    from lsr.eval.reproduce import read_reproductions

    entry = "- {name: a, dataset: b, system: c, source: d, expect: {MRR@10: 1}, tolerance: "
    (tmp_path / "one.yaml").write_text(f"{entry}{value}}}\n")
    with pytest.raises(InvalidInput):
        read_reproductions(tmp_path)


@pytest.mark.parametrize("change", [{"part": "x"}, {"models": ["x"]}, {"models": 7}, {"models": [{}]}], ids=str)
def test_what_an_evaluation_left_in_another_form_is_measured_again(change: dict[str, Any], tmp_path: Path) -> None:
    """Its checksum is right."""
    from lsr.eval.system_run import checksum
    from tests.reliability.loaders import evaluate, make_evaluations

    def altered(state: dict[str, Any]) -> None:
        state.pop("checksum")
        state.update(change)
        state["checksum"] = checksum(state)

    make_evaluations(tmp_path)
    edited("run.json", altered)(tmp_path / "work" / "report" / "systems")
    evaluate(tmp_path / "work", resume=True)


@pytest.mark.parametrize("field", ["counts", "spool", "reading", "documents"])
def test_a_checkpoint_of_another_form_is_no_checkpoint(field: str, tmp_path: Path) -> None:
    """Its digest is right: everything was encoded again instead of a TypeError."""
    import xxhash

    from tests.reliability.loaders import make_interrupted, resume

    make_interrupted(tmp_path)
    (checkpoint,) = (tmp_path / "build").rglob("checkpoint")
    state = json.loads(checkpoint.read_bytes().partition(b"\n")[2])
    state[field] = 7 if field != "documents" else "4"
    body = json.dumps(state).encode()
    checkpoint.write_bytes(xxhash.xxh3_128_hexdigest(body).encode() + b"\n" + body)
    resume(tmp_path / "build")
    assert len(lsr.Index.open(tmp_path / "build" / "my.idx")) == 6
