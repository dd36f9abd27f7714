"""The training data of the bundled encoder: passages, queries of several kinds, and queries held out for development.

    python -m benchmarks.training_data -o FOLDER [--seed 0] [--wordnet /usr/share/wordnet]

Needs the shared folder (LSR_SHARED): data/passages/techdocs-392k.txt.xz (a passage a line), data/train/medquad.jsonl.gz and
techdocs-headings.jsonl.gz ({"query", "positive"}), 2wiki-train.jsonl.gz ({"query", "gold": [{"title", "text"}], "other"}) and
trivia-dev-questions.tsv (id, question); the evaluation collections as BEIR folders, none of whose documents and queries
may be trained on; and the database files of WordNet 3.0 (Debian's wordnet-base).

Writes corpus.jsonl.gz ({"_id", "title"?, "text"}), queries/KIND.jsonl.gz ({"query", "positive_ids"?}), dev (a BEIR folder:
the judgments of each kind are a split of their own, all of them the split "test") and facts.json.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.training_texts import Domains, definitions, medical_question, passage_of, readable, shortened
from lsr.training.data import (
    Forbidden,
    Inflections,
    MadeQueries,
    Passages,
    TrainingSet,
    development_split,
    made_queries,
    without_texts,
)
from lsr.training.data.words import cleaned, content_words, is_query, normalised

SHARED = Path(os.environ.get("LSR_SHARED") or Path(__file__).resolve().parent.parent.parent / "shared") / "data"
EVALUATED = ("scifact", "nfcorpus", "msmarco-5k", "vaswani", "cranfield", "cacm", "squad-dev")
EVALUATED_BELOW = ("multihop", "ragsmith")  # folders of collections
HELD_OUT, HELD_OUT_SHARE = 300, 0.1  # development queries of a kind, and no more than this share of them
DEV_DOCUMENTS = 20_000
COMMON_ANSWER = 3  # an answer to more questions than this names the subject of none
FEWEST_WORDS = 4  # of a definition
MOST_TECHNICAL = 255_000  # passages of technical documentation: more of the same
# Made from the passages of each domain: kind -> domain -> (queries, at most of one passage). Technical documentation has most
# of the passages, and would drown the others.
MADE: dict[str, dict[str, tuple[int, int]]] = {
    "sentences": {"technical": (55_000, 1), "medical": (25_000, 2), "general": (25_000, 2)},
    "keywords": {"technical": (45_000, 1), "medical": (22_000, 2), "general": (22_000, 2)},
    "spans": {"technical": (20_000, 1), "medical": (10_000, 1), "general": (10_000, 1)},
    "first-sentences": {"technical": (20_000, 1), "medical": (8_000, 1), "general": (10_000, 1)},
    "headings": {"technical": (20_000, 1), "medical": (5_000, 1), "general": (10_000, 1)},
}
CALLED = {"headings": "titles"}  # "heading" are the pairs of heading and paragraph
# Kinds that have inflected copies: of which share of their queries, and the chance of each word.
INFLECTED = {"keywords": (0.3, 0.5), "heading": (0.25, 0.4), "sentences": (0.15, 0.3), "medical": (0.25, 0.3)}


@dataclass
class Data:
    """Documents as (title, text), and queries of each kind with the rows that answer them."""

    titles: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    queries: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._rows: dict[str, int] = {}

    def document(self, title: str, text: str) -> int:
        """The row of a document, which is new if no other has its letters and digits."""
        key = normalised(f"{title} {text}")
        row = self._rows.setdefault(key, len(self.texts))
        if row == len(self.texts):
            self.titles.append(title)
            self.texts.append(text)
        return row

    def content(self, row: int) -> str:
        return f"{self.titles[row]} {self.texts[row]}" if self.titles[row] else self.texts[row]

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Leaves out all other documents. No query may have one of them as its answer."""
        place = dict(zip(rows.tolist(), range(len(rows)), strict=True))
        self.titles = [self.titles[row] for row in place]
        self.texts = [self.texts[row] for row in place]
        self._rows = {key: place[row] for key, row in self._rows.items() if row in place}
        for queries in self.queries.values():
            for answers in queries.values():
                answers[:] = [place[row] for row in answers]

    def query(self, kind: str, text: str, rows: Iterable[int]) -> None:
        """Adds a query once; it may have several answers."""
        found = self.queries.setdefault(kind, {}).setdefault(text, [])
        found += [row for row in rows if row not in found]


def lines(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(SHARED / "train" / name, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def evaluated() -> list[Path]:
    """The collections that must not be trained on."""
    below = [path for name in EVALUATED_BELOW for path in sorted((SHARED / name).iterdir()) if path.is_dir()]
    return [*(SHARED / name for name in EVALUATED), *below]


def read_passages(data: Data, forbidden: Forbidden) -> None:
    with lzma.open(SHARED / "passages" / "techdocs-392k.txt.xz", "rt", encoding="utf-8", newline="\n") as file:
        texts = [cleaned(line.replace("\0", " ")) for line in file]
    data.counts["passages read"] = len(texts)
    kept = without_texts(texts, forbidden)
    data.counts["passages of evaluation collections"] = len(texts) - len(kept)
    for row in kept.tolist():
        if readable(texts[row]):
            title, text = passage_of(texts[row])
            # The text without the title may be what a collection holds.
            if title and forbidden.has_document(text):
                data.counts["passages of evaluation collections"] += 1
            else:
                data.document(title, text)
        else:
            data.counts["passages that are tables, code or stumps"] += 1


def read_headings(data: Data, forbidden: Forbidden) -> None:
    """Headings with their paragraphs: most of these are passages, there with the title of their page."""
    rows = {normalised(text): row for row, text in enumerate(data.texts)}
    for line in lines("techdocs-headings.jsonl.gz"):
        query, text = cleaned(line["query"]), cleaned(line["positive"])
        data.counts["heading pairs read"] += 1
        # What the heading says must be said below it: "Remarks" and "Return value" are over all kinds of paragraphs.
        shared = set(content_words(query)) & set(content_words(text))
        if not is_query(query) or not shared or not readable(text) or forbidden.has_document(text):
            data.counts["heading pairs left out"] += 1
        elif not forbidden.has_query(query):
            row = rows.get(normalised(text))
            data.query("heading", query, [data.document("", text) if row is None else row])


def read_medquad(data: Data, forbidden: Forbidden, rng: np.random.Generator) -> None:
    pairs = [(cleaned(line["query"]), cleaned(line["positive"])) for line in lines("medquad.jsonl.gz")]
    times = Counter(answer for _, answer in pairs)
    for question, answer in pairs:
        data.counts["medical pairs read"] += 1
        text = shortened(answer)
        asked = medical_question(question, rng)
        common = times[answer] > COMMON_ANSWER or not set(content_words(asked)) & set(content_words(text))
        if common or forbidden.has_document(text) or forbidden.has_query(asked):
            data.counts["medical pairs left out"] += 1
        else:
            data.query("medical", asked, [data.document("", text)])


def read_multi_hop(data: Data, forbidden: Forbidden) -> None:
    for line in lines("2wiki-train.jsonl.gz"):
        rows = {}
        for part in ("gold", "other"):
            passages = [(cleaned(one["title"]), cleaned(one["text"])) for one in line[part]]
            held = [
                (a, b) for a, b in passages if not (forbidden.has_document(b) or forbidden.has_document(f"{a} {b}"))
            ]
            data.counts["multi-hop passages of evaluation collections"] += len(passages) - len(held)
            rows[part] = [data.document(title, text) for title, text in held if text]
        if not forbidden.has_query(line["query"]):
            data.query("multi-hop", cleaned(line["query"]), rows["gold"])


def read_trivia(data: Data, forbidden: Forbidden) -> None:
    for line in (SHARED / "train" / "trivia-dev-questions.tsv").read_text(encoding="utf-8").splitlines():
        question = cleaned(re.sub(r'"+', '"', line.partition("\t")[2]).strip('" '))
        if is_query(question, 1) and not forbidden.has_query(question):
            data.query("trivia", question, [])
        else:
            data.counts["trivia questions left out"] += 1


def read_definitions(data: Data, forbidden: Forbidden, rng: np.random.Generator, folder: Path) -> range:
    """Words and what they mean; the rows of the documents.

    Where several words mean the same, a document leaves out one, which is the query: to find it, an encoder has to know
    that they mean the same.
    """
    begin = len(data.texts)
    for found in definitions(folder):
        asked = found.words[int(rng.integers(len(found.words)))]
        named = [word for word in found.words if word != asked] or found.words
        text = f"{', '.join(named)}: {found.meaning}"
        if found.above and found.above != asked:
            text += f" (kind of {found.above})"
        fit = is_query(asked, 1) and len(found.meaning.split()) >= FEWEST_WORDS
        if not fit or forbidden.has_document(text) or forbidden.has_query(asked):
            data.counts["definitions left out"] += 1
        else:
            data.query("words", asked, [data.document("", text)])
    return range(begin, len(data.texts))


def domains_of(data: Data, defined: range) -> npt.NDArray[np.str_]:
    """The domain of each document."""
    domains = Domains(
        technical=[line["positive"] for line in islice(lines("techdocs-headings.jsonl.gz"), 0, None, 4)],
        medical=[line["positive"] for line in islice(lines("medquad.jsonl.gz"), 0, None, 4)],
        general=[one["text"] for line in lines("2wiki-train.jsonl.gz") for one in (*line["gold"], *line["other"])],
    )
    return np.array(
        ["definitions" if row in defined else domains.of(data.content(row)) for row in range(len(data.texts))]
    )


def thin_out(data: Data, domain: npt.NDArray[np.str_], rng: np.random.Generator) -> npt.NDArray[np.str_]:
    """Leaves out some technical documents that answer nothing; gives the domains of the others."""
    answers = {row for queries in data.queries.values() for rows in queries.values() for row in rows}
    free = [row for row in np.flatnonzero(domain == "technical").tolist() if row not in answers]
    more = int((domain == "technical").sum()) - MOST_TECHNICAL
    left_out = rng.choice(free, min(max(more, 0), len(free)), replace=False)
    data.counts["technical documents left out"] = len(left_out)
    kept = np.setdiff1d(np.arange(len(domain)), left_out)
    data.keep(kept)
    rest: npt.NDArray[np.str_] = domain[kept]
    return rest


def make_queries(data: Data, domain: npt.NDArray[np.str_], forbidden: Forbidden, seed: int) -> None:
    for name in np.unique(domain).tolist():
        rows = np.flatnonzero(domain == name)
        data.counts[f"documents, {name}"] = len(rows)
        some = Passages([data.content(row) for row in rows.tolist()], [len(data.titles[row]) for row in rows.tolist()])
        for kind, wanted in MADE.items():
            if name not in wanted:
                continue
            count, each = wanted[name]
            made = MadeQueries(kind, count=count, per_document=each)
            for place, query in made_queries(some, made, seed):
                if not forbidden.has_query(query):
                    data.query(CALLED.get(kind, kind), query, [int(rows[place])])


def training_set(data: Data) -> TrainingSet:
    kinds = list(data.queries)
    rows = [
        (query, answer, number)
        for number, kind in enumerate(kinds)
        for query, answers in data.queries[kind].items()
        for answer in answers or [-1]
    ]
    return TrainingSet(
        documents=[data.content(row) for row in range(len(data.texts))],
        document_ids=[f"d{row}" for row in range(len(data.texts))],
        queries=[query for query, _, _ in rows],
        positives=np.array([answer for _, answer, _ in rows], np.int64),
        kind=np.array([number for _, _, number in rows], np.uint8),
        kinds=kinds,
    )


def inflected(training: TrainingSet, rng: np.random.Generator) -> dict[str, list[tuple[str, int]]]:
    """Queries with other inflections, as kinds of their own."""
    inflections = Inflections.learn(training.documents[::2])
    found: dict[str, list[tuple[str, int]]] = {}
    for number, kind in enumerate(training.kinds):
        for row in np.flatnonzero((training.kind == number) & (training.positives >= 0)).tolist():
            share, rate = INFLECTED.get(kind, (0.0, 0.0))
            if rng.random() < share:
                query = inflections.vary(training.queries[row], rng, rate)
                if query != training.queries[row]:
                    found.setdefault(f"{kind}-inflected", []).append((query, int(training.positives[row])))
    return found


def by_query(part: TrainingSet, kind: int) -> dict[str, list[int]]:
    """The queries of a kind, and the rows of their positives."""
    found: dict[str, list[int]] = {}
    for row in np.flatnonzero(part.kind == kind).tolist():
        positive = int(part.positives[row])
        found.setdefault(part.queries[row], []).extend([positive] if positive >= 0 else [])
    return found


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """JSON lines, compressed; the same records give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
        for record in records:
            file.write((json.dumps(record, ensure_ascii=False) + "\n").encode())


def write_queries(folder: Path, training: TrainingSet, copies: dict[str, list[tuple[str, int]]]) -> dict[str, int]:
    kinds = {kind: by_query(training, number) for number, kind in enumerate(training.kinds)}
    for kind, pairs in copies.items():
        kinds[kind] = {}
        for query, row in pairs:
            kinds[kind].setdefault(query, []).append(row)
    for kind, queries in kinds.items():
        records = (
            {"query": query} | ({"positive_ids": [f"d{row}" for row in dict.fromkeys(rows)]} if rows else {})
            for query, rows in queries.items()
        )
        write_lines(folder / f"{kind}.jsonl.gz", records)
    return {kind: len(queries) for kind, queries in kinds.items()}


def write_dev(folder: Path, data: Data, dev: TrainingSet, rng: np.random.Generator) -> dict[str, int]:
    answers = np.unique(dev.positives)
    others = np.setdiff1d(np.arange(len(data.texts)), answers)
    more = rng.choice(others, min(max(0, DEV_DOCUMENTS - len(answers)), len(others)), replace=False)
    write_lines(folder / "corpus.jsonl.gz", (record(data, row) for row in np.union1d(answers, more).tolist()))
    kinds = {kind: by_query(dev, number) for number, kind in enumerate(dev.kinds)}
    named = {kind: [(f"{kind}-{n}", *pair) for n, pair in enumerate(found.items())] for kind, found in kinds.items()}
    write_lines(
        folder / "queries.jsonl.gz",
        ({"_id": ident, "text": query} for one in named.values() for ident, query, _ in one),
    )
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for split in ["test", *(kind for kind, found in named.items() if found)]:
        judged = [item for kind, one in named.items() if split in ("test", kind) for item in one]
        rows = [f"{ident}\td{row}\t1" for ident, _, answers in judged for row in answers]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows, ""]))
    return {kind: len(found) for kind, found in named.items() if found}


def record(data: Data, row: int) -> dict[str, Any]:
    title = {"title": data.titles[row]} if data.titles[row] else {}
    return {"_id": f"d{row}", **title, "text": data.texts[row]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    options = parser.parse_args()
    if not (options.wordnet / "data.noun").is_file():
        raise SystemExit(
            f"{options.wordnet}: holds no data.noun of WordNet; install wordnet-base, or name a folder with --wordnet"
        )
    if not (SHARED / "train").is_dir():
        raise SystemExit(f"{SHARED / 'train'}: not here; set LSR_SHARED to the folder of the shared data")
    start, data, rng = time.perf_counter(), Data(), np.random.default_rng(options.seed)

    def say(what: str) -> None:
        print(f"{time.perf_counter() - start:6.0f} s  {what}", flush=True)

    forbidden = Forbidden.of(evaluated())
    say("evaluation collections read")
    read_passages(data, forbidden)
    say(f"{len(data.texts):,} passages")
    read_headings(data, forbidden)
    read_medquad(data, forbidden, rng)
    read_multi_hop(data, forbidden)
    read_trivia(data, forbidden)
    defined = read_definitions(data, forbidden, rng, options.wordnet)
    say(f"{len(data.texts):,} documents with those of pairs")
    domain = thin_out(data, domains_of(data, defined), rng)
    say(f"{len(data.texts):,} documents kept")
    make_queries(data, domain, forbidden, options.seed)
    say("queries made")
    everything = training_set(data)
    least = {kind: int(HELD_OUT_SHARE * len(found)) for kind, found in data.queries.items()}
    training, dev = development_split(everything, {k: min(HELD_OUT, n) for k, n in least.items()}, options.seed)
    copies = inflected(training, rng)
    say("queries inflected")
    write_lines(options.output / "corpus.jsonl.gz", (record(data, row) for row in range(len(data.texts))))
    queries = write_queries(options.output / "queries", training, copies)
    held_out = write_dev(options.output / "dev", data, dev, rng)
    files = sorted(path for path in options.output.rglob("*.*") if path.is_file() and path.name != "facts.json")
    facts = {
        "documents": len(data.texts),
        "queries": queries | {"all": sum(queries.values())},
        "development": held_out,
        "counts": dict(data.counts),
        "evaluation_collections": [str(path.relative_to(SHARED)) for path in evaluated()],
        "seed": options.seed,
        "files": {
            str(path.relative_to(options.output)): {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        },
    }
    (options.output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    say(f"written: {sum(path.stat().st_size for path in files) / 1e6:.1f} MB")
    print(json.dumps({name: facts[name] for name in ("documents", "queries", "development", "counts")}, indent=1))


if __name__ == "__main__":
    main()
