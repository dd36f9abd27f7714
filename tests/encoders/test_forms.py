"""Heads that training can make: every pooling, activation and layer gives what its formula gives on full logits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lsr.encoders.export import export_onnx
from lsr.encoders.loading import load_encoder
from lsr.encoders.model import VocabularyHead
from lsr.errors import EncoderError
from tests.encoders import families, forms
from tests.encoders.families import TEXTS
from tests.encoders.forms import HEADS, TORCH_ONLY, dense, encoder_of, heaviest, oracle, side_of

pytest.importorskip("transformers")

TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families.plain(tmp_path_factory.mktemp("forms") / "model")


def engines(head: str) -> tuple[str, ...]:
    return ("torch",) if head in TORCH_ONLY else ("torch", "onnx")


@pytest.mark.parametrize("name", HEADS)
def test_every_head_gives_its_formula(name: str, folder: Path) -> None:
    expected = oracle(folder, HEADS[name], TEXTS)
    assert expected.any()
    side = side_of(folder, HEADS[name])
    for engine in engines(name):
        encoder = encoder_of(side, side, engine)
        np.testing.assert_allclose(dense(encoder.encode_documents(TEXTS)), expected, atol=TOLERANCE, err_msg=engine)


@pytest.mark.parametrize("name", ["max softplus", "sum log1p_softplus", "cls softplus", "EPIC"])
def test_top_terms_are_what_makes_softplus_sparse(name: str, folder: Path) -> None:
    everything = oracle(folder, HEADS[name], TEXTS)
    assert (everything > 0).all(), "every term weighs something"
    gone = (0, 2, 3, int(everything[0].argmax()))
    everything[:, gone] = 0
    side = side_of(folder, HEADS[name], top_terms=9, dropped=gone)
    for engine in engines(name):
        vectors = encoder_of(side, side, engine).encode_documents(TEXTS)
        assert np.diff(vectors.indptr).tolist() == [9] * len(TEXTS)
        np.testing.assert_allclose(dense(vectors), heaviest(everything, 9), atol=TOLERANCE, err_msg=engine)


@pytest.mark.parametrize("family", families.MASKED + families.TORCH_ONLY)
def test_epics_layers_read_what_the_transformer_puts_out(family: str, tmp_path: Path) -> None:
    """And not what a masked-language-model head makes of it, which has the same width in some families."""
    folder = families.plain(tmp_path / family, family)
    side = side_of(folder, HEADS["EPIC"])
    found = dense(encoder_of(side, side).encode_documents(TEXTS))
    np.testing.assert_allclose(found, oracle(folder, HEADS["EPIC"], TEXTS), atol=1e-4)


@pytest.mark.parametrize("name", ["max softplus", "cls", "importance", "EPIC"])
def test_terms_come_from_the_position_that_weighs_them_most(name: str, folder: Path) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    head = HEADS[name]
    assert isinstance(head, VocabularyHead)
    text = TEXTS[1]
    with families.quiet(), torch.inference_mode():
        network = AutoModelForMaskedLM.from_pretrained(folder).eval()
        read = torch.tensor([families.ids(folder, text)])
        weights = forms.FORMULAS[head.activation](network(read).logits[0])
        if head.importance:
            weights = weights * forms._through(head.importance, network.base_model(read).last_hidden_state[0])
        if head.pooling == "cls":
            weights = weights[:1]
    side = side_of(folder, head, top_terms=10)
    for engine in engines(name):
        origins = encoder_of(side, side, engine).explain(text)
        assert len(origins) == 10
        for origin in origins:
            assert weights[origin.position, origin.term] == pytest.approx(
                float(weights[:, origin.term].max()), abs=1e-5
            )


@pytest.mark.parametrize("name", ["max softplus", "max log1p_softplus", "sum log1p_softplus", "cls", "tokens sum"])
def test_an_onnx_export_gives_the_same_vectors(name: str, folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, HEADS[name], top_terms=30)
    original = encoder_of(side, side)
    parity = export_onnx(original, tmp_path / "out", samples=TEXTS)
    assert parity is not None
    assert parity.reference == "torch"
    again = load_encoder(tmp_path / "out")
    np.testing.assert_allclose(
        dense(again.encode_documents(TEXTS)), dense(original.encode_documents(TEXTS)), atol=TOLERANCE
    )


@pytest.mark.parametrize("name", ["cls", "max softplus"])
def test_8_bit_heads_are_near_the_formula(name: str, folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, HEADS[name])
    parity = export_onnx(encoder_of(side, side), tmp_path / "out", precision="int8", samples=TEXTS)
    assert parity is not None
    assert parity.mean_cosine > 0.99
    found, expected = dense(load_encoder(tmp_path / "out").encode_documents(TEXTS)), oracle(folder, HEADS[name], TEXTS)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


def test_an_export_keeps_what_the_model_keeps(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, VocabularyHead(), top_terms=3)
    for asked, kept in ((None, 3), (2, 2)):
        export_onnx(encoder_of(side, side), tmp_path / str(kept), samples=TEXTS, top_terms=asked)
        vectors = load_encoder(tmp_path / str(kept)).encode_documents(TEXTS)
        assert np.diff(vectors.indptr).max() == kept


def test_what_has_no_graph_says_so(folder: Path, tmp_path: Path) -> None:
    side = side_of(folder, HEADS["EPIC"])
    for act in (
        lambda: encoder_of(side, side, "onnx").encode_documents(["text"]),
        lambda: export_onnx(encoder_of(side, side), tmp_path / "out"),
    ):
        with pytest.raises(EncoderError, match=r"importance or document quality \(EPIC\) has no ONNX graph") as caught:
            act()
        assert str(folder) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_without_torch_the_message_says_why_it_is_needed(folder: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from lsr.errors import MissingExtra\n"
        "from tests.encoders.forms import HEADS, encoder_of, side_of\n"
        f"side = side_of(Path({str(folder)!r}), HEADS['EPIC'])\n"
        "try: encoder_of(side, side).encode_documents(['text'])\n"
        "except MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"{folder}: a head with term importance or document quality (EPIC) has no ONNX graph: encoding with it needs the "
        "package 'torch': pip install 'lsr-engine[torch]'"
    ]
