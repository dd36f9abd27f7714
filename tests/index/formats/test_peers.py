"""The peers themselves read what lsr writes, and find in it what brute force finds; lsr reads what they write."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lsr
from lsr import SparseVectors
from lsr.errors import InvalidVectors, MissingExtra
from lsr.index.formats import read_vectors, write_vectors
from tests.conftest import random_vectors
from tests.encoders import families
from tests.index.formats.collections import brute_force, with_ids

DIM = 400
DOCUMENTS = with_ids(random_vectors(300, DIM, 15, seed=20, levels=200), [f"doc{row}" for row in range(300)])
# Weights as float16 holds them, which Seismic and kANNolo keep.
HALVES = SparseVectors(
    indptr=DOCUMENTS.indptr,
    indices=DOCUMENTS.indices,
    values=DOCUMENTS.values / 64,
    dim=DIM,
    ids=DOCUMENTS.ids,
)
QUERIES = random_vectors(12, DIM, 5, seed=21, levels=3)
TOKENS = [f"tök{term}" for term in range(DIM)]
# A build that prunes nothing: all postings, whole summaries.
EVERYTHING = {"n_postings": 5_000, "max_fraction": 10.0, "centroid_fraction": 0.2, "summary_energy": 1.0}
K = 10


def agree(found: list[tuple[str, float]], query: tuple[Any, Any], tolerance: float, documents: SparseVectors) -> None:
    """The answer of a peer, (id, score), against brute force: as many, the same scores, each that of its document."""
    expected = brute_force(documents, query, len(documents))
    scores = {(documents.ids or ())[row]: score for row, score in expected}
    assert len(found) == min(K, len(expected))
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected[:K]], rtol=tolerance)
    np.testing.assert_allclose([s for _, s in found], [scores[name] for name, _ in found], rtol=tolerance)


# -- Seismic -----------------------------------------------------------------------------------------------------------


def test_seismic_indexes_the_jsonl(tmp_path: Path) -> None:
    seismic = pytest.importorskip("seismic", reason="pyseismic-lsr has no wheel for this platform")
    write_vectors(HALVES, tmp_path / "v.jsonl", vocabulary=TOKENS)
    index = seismic.SeismicIndex.build(str(tmp_path / "v.jsonl"), **EVERYTHING)
    assert (index.len, index.nnz) == (300, HALVES.nnz)
    text = seismic.get_seismic_string()
    for terms, weights in QUERIES:
        tokens = np.array([TOKENS[term] for term in terms], dtype=text)
        hits = index.search("q", tokens, weights, k=K, query_cut=99, heap_factor=0.0)
        agree([(name, score) for _, score, name in hits if score > 0], (terms, weights), 1e-3, HALVES)


def test_seismic_shows_the_texts_of_the_jsonl(tmp_path: Path) -> None:
    seismic = pytest.importorskip("seismic", reason="pyseismic-lsr has no wheel for this platform")
    index = lsr.Index.build(
        [{"id": "a", "text": "rotate a log file"}, {"id": "b", "text": "sort"}], tmp_path / "my.idx"
    )
    write_vectors(index, tmp_path / "v.jsonl")
    peer = seismic.SeismicIndex.build(str(tmp_path / "v.jsonl"), min_cluster_size=1)
    assert [peer.get_doc_text(name) for name in ("a", "b")] == ["rotate a log file", "sort"]


@pytest.mark.parametrize("dim", [DIM, 70_000])
def test_seismic_and_kannolo_index_the_bin(tmp_path: Path, dim: int) -> None:
    """Vocabularies over 65,535 terms are for Seismic's "LV" index."""
    seismic = pytest.importorskip("seismic", reason="pyseismic-lsr has no wheel for this platform")
    wide = SparseVectors(
        indptr=HALVES.indptr,
        indices=HALVES.indices.astype(np.int64) * (dim // DIM),
        values=HALVES.values,
        dim=dim,
        ids=[str(row) for row in range(300)],
    )
    write_vectors(wide, tmp_path / "v.bin")
    kind = seismic.SeismicIndexRaw if dim == DIM else seismic.SeismicIndexRawLV
    index = kind.build(str(tmp_path / "v.bin"), **EVERYTHING)
    assert (index.len, index.nnz) == (300, wide.nnz)
    for terms, weights in QUERIES:
        components = terms.astype(np.int32) * (dim // DIM)
        hits = index.search(components, weights, K, 99, 0.0, 0, True)
        agree([(str(row), score) for score, row in hits if score > 0], (components, weights), 1e-3, wide)


def test_kannolo_reads_the_bin(tmp_path: Path) -> None:
    kannolo = pytest.importorskip("kannolo", reason="kannolo has no wheel for this platform")
    write_vectors(HALVES, tmp_path / "v.bin")
    index = kannolo.SparseFlatIndex.build_from_file(str(tmp_path / "v.bin"))
    for terms, weights in QUERIES:
        scores, rows = index.search(terms.astype(np.int32), weights, K)
        found = [(f"doc{row}", float(score)) for score, row in zip(scores, rows, strict=True) if score > 0]
        agree(found, (terms, weights), 1e-3, HALVES)


# -- BMP ---------------------------------------------------------------------------------------------------------------


def test_bmp_converts_and_searches_the_ciff(tmp_path: Path) -> None:
    bmp = pytest.importorskip("bmp", reason="bmp has no wheel for this platform")
    write_vectors(DOCUMENTS, tmp_path / "v.ciff", vocabulary=TOKENS)
    bmp.ciff2bmp(ciff_file=str(tmp_path / "v.ciff"), output=str(tmp_path / "v.bmp"), bsize=8, compress_range=False)
    searcher = bmp.Searcher(str(tmp_path / "v.bmp"))
    # BMP multiplies the weights of a query by a factor of its own: with equal ones that is one factor for all. Near the
    # largest weights of a single term it misses some documents: so several terms, and more hits than are looked at.
    several = [(terms, np.ones(len(terms))) for terms, _ in QUERIES if len(terms) > 2]
    assert len(several) > 5
    for terms, weights in several:
        ids, scores = searcher.search({TOKENS[term]: 1.0 for term in terms}, 5 * K, 1.0, 1.0)
        factor = scores[0] / brute_force(DOCUMENTS, (terms, weights), 1)[0][1]
        found = [(name, score / factor) for name, score in zip(ids, scores, strict=True)]
        agree(found[:K], (terms, weights), 1e-6, DOCUMENTS)


# -- torch and sentence-transformers -----------------------------------------------------------------------------------


def test_a_tensor_of_torch_and_back() -> None:
    torch = pytest.importorskip("torch")
    tensor = HALVES.to_torch()
    assert (tensor.layout, tensor.is_coalesced(), tuple(tensor.shape)) == (torch.sparse_coo, True, (300, DIM))
    np.testing.assert_array_equal(tensor.to_dense().numpy(), HALVES.to_scipy().toarray())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that CSR tensors are in beta
        forms = [tensor, tensor.to_sparse_csr(), tensor.to_dense(), [tensor[row] for row in range(300)]]
        for form in forms:
            assert SparseVectors.from_torch(form, HALVES.ids) == HALVES
        halves = SparseVectors.from_torch(tensor.to(torch.bfloat16))
    np.testing.assert_allclose(halves.values, HALVES.values, rtol=1 / 256)


def test_tensors_are_checked_before_torch_works_on_them() -> None:
    torch = pytest.importorskip("torch")
    with torch.sparse.check_sparse_tensor_invariants(False):
        beyond = torch.sparse_coo_tensor(torch.tensor([[0], [99]]), torch.tensor([1.0]), (3, 6))
        row = torch.sparse_coo_tensor(torch.tensor([[-1], [0]]), torch.tensor([1.0]), (3, 6))
    for tensor, says in (
        (beyond, r"a term out of range: its shape is \[3, 6\]"),
        (row, "a row out of range"),
        (torch.tensor([[1.0, -2.0]]), "row 0 has weight -2.0"),
        (torch.tensor([[1.0, float("nan")]]), "row 0 has weight nan"),
        (torch.tensor([[1j]]), "weights are real numbers"),
        (torch.ones(2, 2, 2), "a tensor of 3 dimensions"),
        (torch.ones(2, 2).to_sparse(1), "a hybrid tensor"),
        ([torch.ones(2), torch.ones(3)], r"tensors of different dim: \[2, 3\]"),
        ([], "an empty list of tensors"),
        ("text", "a str is no tensor"),
    ):
        with pytest.raises(InvalidVectors, match=says):
            SparseVectors.from_torch(tensor)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "v.pt").write_bytes(b"PK")
    for call in (HALVES.to_torch, lambda: SparseVectors.from_torch(None), lambda: read_vectors(tmp_path / "v.pt")):
        with pytest.raises(MissingExtra, match=r"pip install 'lsr-engine\[torch\]'"):
            call()


@pytest.mark.parametrize("layout", ["coo", "csr", "dense", "list"])
def test_what_torch_saved_is_read(tmp_path: Path, layout: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = HALVES.to_torch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = {
            "coo": tensor,
            "csr": tensor.to_sparse_csr(),
            "dense": tensor.to_dense(),
            "list": [tensor[row] for row in range(300)],
        }
        torch.save(saved[layout], tmp_path / "v.pt")
    found = read_vectors(tmp_path / "v.pt")
    assert with_ids(found, HALVES.ids) == HALVES


def test_torch_makes_a_tensor_of_the_safetensors_parts(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    write_vectors(HALVES, tmp_path / "v.safetensors")
    parts = load_file(tmp_path / "v.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensor = torch.sparse_csr_tensor(
            parts["crow_indices"], parts["col_indices"], parts["values"], size=tuple(parts["size"].tolist())
        )
    np.testing.assert_array_equal(tensor.to_dense().numpy(), HALVES.to_scipy().toarray())
    coo = HALVES.to_torch()
    save_file(
        {"indices": coo.indices(), "values": coo.values(), "size": torch.tensor(coo.shape)},
        tmp_path / "coo.safetensors",
    )
    assert with_ids(read_vectors(tmp_path / "coo.safetensors"), HALVES.ids) == HALVES


def test_the_embeddings_of_sentence_transformers(tmp_path: Path) -> None:
    """What SparseEncoder.encode gives becomes vectors, saved or not, and its similarity takes what lsr gives."""
    pytest.importorskip("sentence_transformers")
    torch = pytest.importorskip("torch")
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(families.plain(tmp_path / "model")), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        embeddings = model.encode_document(families.SENTENCES)
        torch.save(embeddings, tmp_path / "v.pt")
        similarities = model.similarity(embeddings, embeddings).to_dense().numpy()
    vectors = SparseVectors.from_torch(embeddings)
    assert read_vectors(tmp_path / "v.pt") == vectors
    np.testing.assert_array_equal(vectors.to_scipy().toarray(), embeddings.to_dense().numpy())
    matrix = vectors.to_scipy()
    np.testing.assert_allclose((matrix @ matrix.T).toarray(), similarities, rtol=1e-5)
    ours = lsr.load_encoder(tmp_path / "model").encode_documents(families.SENTENCES).to_torch()
    np.testing.assert_allclose(model.similarity(ours, ours).to_dense().numpy(), similarities, rtol=1e-4)


def test_a_pickle_that_is_no_tensor_is_never_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    marker = tmp_path / "executed"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    torch.save(Hostile(), tmp_path / "v.pt")
    with pytest.raises(lsr.errors.CorpusError, match=r"v\.pt: torch cannot read it as tensors alone"):
        read_vectors(tmp_path / "v.pt")
    assert not marker.exists()
    torch.save(torch.ones(1).expand(1 << 40, 4), tmp_path / "v.pt")  # a tensor of one number, repeated
    with pytest.raises(lsr.errors.CorpusError, match=r"its tensors claim [\d,]+ bytes in a file of"):
        read_vectors(tmp_path / "v.pt")
    with torch.sparse.check_sparse_tensor_invariants(False):
        many = torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.long), torch.zeros(0), (1 << 40, 4))
    torch.save(many, tmp_path / "v.pt")
    with pytest.raises(lsr.errors.CorpusError, match="it claims 1,099,511,627,776 rows"):
        read_vectors(tmp_path / "v.pt")
