"""Nothing that is read is ever run: files that leave a mark when somebody unpickles, imports or evaluates them.

Each is given to every loader and command. The mark must not appear, and what is said must be an error of lsr; the first tests
show that the marks do appear where such files are loaded as their makers hope.
"""

from __future__ import annotations

import ast
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import lsr as library
from lsr import Index, LsrError, SparseVectors, load_encoder, open_vectors, read_documents, read_queries, read_vectors
from lsr.errors import EncoderError, InvalidInput
from tests.cli.commands import lsr, one_line
from tests.reliability import models


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def code(mark: Path) -> str:
    """Makes a file when it is imported."""
    return f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"


# -- files -------------------------------------------------------------------------------------------------------------


def object_array(path: Path, mark: Path) -> None:
    np.savez(path, indptr=np.array([Canary(mark)], object), indices=[0], values=[1.0], dim=1, lsr_version=1)


def scipy_object(path: Path, mark: Path) -> None:
    np.savez(path, format=np.array(Canary(mark), object), shape=[1, 1], indptr=[0, 1], indices=[0], data=[1.0])


def bare_array(path: Path, mark: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Canary(mark)], object))


def bare_pickle(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Canary(mark)))


def torch_zip(path: Path, mark: Path) -> None:
    """As torch.save writes: data.pkl in a zip."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": Canary(mark)}, protocol=2))
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")


def torch_legacy(path: Path, mark: Path) -> None:
    """As torch.save wrote before 1.6: pickles in a row."""
    parts: tuple[Any, ...] = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"weight": Canary(mark)}, [])
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))


def yaml_call(path: Path, mark: Path) -> None:
    path.write_text(f"- !!python/object/apply:os.system ['touch {mark}']\n", encoding="utf-8")


FILES: dict[str, Callable[[Path, Path], None]] = {
    "objects.npz": object_array,
    "scipy.npz": scipy_object,
    "pickled.npz": bare_pickle,
    "array.npy": bare_array,
    "array.npz": bare_array,
    "tensor.pt": torch_zip,
    "legacy.pt": torch_legacy,
    "pickled.pt": bare_pickle,
    "legacy.pth": torch_legacy,
    "tensor.bin": torch_zip,
    "tensor.safetensors": torch_zip,
    "pickled.pkl": bare_pickle,
    "pickled.csr": bare_pickle,
    "pickled.ciff": bare_pickle,
    "pickled.jsonl": bare_pickle,
    "pickled.json": bare_pickle,
    "pickled.parquet": bare_pickle,
    "pickled.trec": bare_pickle,
    "zipped.zip": torch_zip,
    "pickled": bare_pickle,
    "called.yaml": yaml_call,
}


def doors(work: Path) -> dict[str, Callable[[Path], object]]:
    """All that reads a file of somebody."""
    from lsr.eval.datasets import open_dataset
    from lsr.eval.evaluate import report_again
    from lsr.eval.qrels import read_qrels
    from lsr.eval.report.schema import load_report
    from lsr.eval.reproduce import read_reproductions
    from lsr.eval.systems.spec import open_system
    from lsr.index.formats import FORMATS
    from lsr.run_file import read_run

    found: dict[str, Callable[[Path], object]] = {
        "documents": lambda path: list(read_documents(path)),
        "queries": lambda path: list(read_queries(path)),
        "load": SparseVectors.load,
        "open_vectors": open_vectors,
        "run": read_run,
        "qrels": read_qrels,
        "dataset": lambda path: open_dataset(str(path)),
        "report": load_report,
        "report again": lambda path: report_again(path, work / "report"),
        "reproductions": read_reproductions,
        "encoder": lambda path: load_encoder(path, local_files_only=True),
        "query side": lambda path: load_encoder(query=path, local_files_only=True),
        "index": Index.open,
        "system": lambda path: open_system(str(path), local_files_only=True).prepare(cast(Any, None)),
    }
    return found | {form: lambda path, form=form: read_vectors(path, form) for form in FORMATS}


def commands(path: Path, work: Path) -> list[list[object]]:
    return [
        ["index", path, "-o", work / "a.idx"],
        ["encode", path, "-o", work / "a.npz"],
        ["import", path, "-o", work / "b.idx"],
        ["search", path, "a query"],
        ["info", path],
        ["check", path],
        ["eval", path, "-o", work / "eval"],
        ["eval", "--check", path],
        ["export", path, "-o", work / "c.npz", "--format", "scipy"],
    ]


def as_hoped(path: Path, kind: Callable[[Path, Path], None]) -> None:
    """Loads a file as its maker hopes."""
    import yaml

    if kind in (object_array, scipy_object):
        with np.load(path, allow_pickle=True) as arrays:
            [arrays[name] for name in arrays.files]
    elif kind is bare_array:
        np.load(io.BytesIO(path.read_bytes()), allow_pickle=True)
    elif kind is bare_pickle:
        pickle.loads(path.read_bytes())  # noqa: S301 - it is ours
    elif kind is torch_legacy:
        stream = io.BytesIO(path.read_bytes())
        for _ in range(5):
            pickle.load(stream)  # noqa: S301
    elif kind is torch_zip:
        import torch

        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    else:
        yaml.unsafe_load(path.read_text())


@pytest.mark.parametrize("name", FILES)
def test_the_canary_sings_where_a_file_is_loaded_as_hoped(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    FILES[name](tmp_path / name, mark)
    as_hoped(tmp_path / name, FILES[name])
    assert mark.exists()


@pytest.mark.parametrize("name", FILES)
def test_no_loader_runs_what_is_in_a_file(name: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / name
    FILES[name](path, mark)
    for door, load in doors(tmp_path).items():
        with pytest.raises(LsrError) as caught:
            load(path)
        assert str(caught.value).isprintable(), door
        assert not mark.exists(), door


@pytest.mark.parametrize("name", ["objects.npz", "tensor.pt", "pickled.jsonl", "called.yaml"])
def test_no_command_runs_what_is_in_a_file(name: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / name
    FILES[name](path, mark)
    for command in commands(path, tmp_path):
        one_line(lsr(*command))
        assert not mark.exists(), command


# -- folders of models -------------------------------------------------------------------------------------------------

MODEL_CODE = """
from transformers import BertForMaskedLM, BertConfig, BertTokenizerFast
class Config(BertConfig):
    model_type = "canary"
class Model(BertForMaskedLM):
    config_class = Config
class Tokenizer(BertTokenizerFast):
    pass
"""


def pickled_weights(writer: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    def make(folder: Path, mark: Path) -> None:
        (models.plain(folder) / "model.safetensors").unlink()
        writer(folder / "pytorch_model.bin", mark)

    return make


def pickled_shards(folder: Path, mark: Path) -> None:
    (models.plain(folder) / "model.safetensors").unlink()
    torch_zip(folder / "part.bin", mark)
    models.write_json(folder / "pytorch_model.bin.index.json", {"weight_map": {"a": "part.bin"}})


def pickles_named_safetensors(folder: Path, mark: Path) -> None:
    torch_zip(models.plain(folder) / "model.safetensors", mark)


def own_code(folder: Path, mark: Path) -> None:
    """A model of a kind that only the code in its folder knows."""
    auto = {
        "AutoConfig": "modeling_x.Config",
        "AutoModel": "modeling_x.Model",
        "AutoModelForMaskedLM": "modeling_x.Model",
    }
    models.plain(folder, model_type="canary", auto_map=auto, trust_remote_code=True)
    (folder / "modeling_x.py").write_text(code(mark) + MODEL_CODE)


def own_module(folder: Path, mark: Path) -> None:
    """A step of sentence-transformers that is code in the folder."""
    models.splade(folder)
    (folder / "my_module.py").write_text(code(mark) + MODEL_CODE)
    models.write_modules(folder, [("", "my_module.Model"), ("1_SpladePooling", f"{models.NAMES}.SpladePooling")])


def pickled_table(folder: Path, mark: Path) -> None:
    """Weights of queries as an array of objects, in lsr's own layout."""
    from random import Random

    from tests.reliability.loaders import repair_encoder

    bare_array(models.exported(folder) / "query_weights.npy", mark)
    repair_encoder(folder, "query_weights.npy", Random(1))


REFUSED: dict[str, Callable[[Path, Path], None]] = {
    "pytorch_model.bin, a zip": pickled_weights(torch_zip),
    "pytorch_model.bin, of old": pickled_weights(torch_legacy),
    "pytorch_model.bin, a pickle": pickled_weights(bare_pickle),
    "pytorch_model.bin in parts": pickled_shards,
    "model.safetensors, which is none": pickles_named_safetensors,
    "auto_map": own_code,
    "modules.json": own_module,
    "query_weights.npy": pickled_table,
}


def auto_map(folder: Path, mark: Path) -> None:
    """A BERT that brings code which nobody needs."""
    auto = {"AutoConfig": "modeling_x.Config", "AutoModelForMaskedLM": "modeling_x.Model"}
    models.plain(folder, auto_map=auto)
    (folder / "modeling_x.py").write_text(code(mark) + MODEL_CODE)


def own_tokenizer(folder: Path, mark: Path) -> None:
    auto = {"AutoTokenizer": ["tokenization_x.Tokenizer", "tokenization_x.Tokenizer"]}
    settings = {"auto_map": auto, "tokenizer_class": "Tokenizer", "model_max_length": 32}
    models.write_json(models.plain(folder) / "tokenizer_config.json", settings)
    (folder / "tokenization_x.py").write_text(code(mark) + MODEL_CODE)


def beside(folder: Path, mark: Path) -> None:
    """Pickles and code beside the weights, as training leaves them and Python looks for them."""
    models.splade(folder)
    for name in ("training_args.bin", "optimizer.pt", "rng_state.pth", "pytorch_model.bin"):
        torch_zip(folder / name, mark)
    for name in (
        "__init__.py",
        "conftest.py",
        "sitecustomize.py",
        "setup.py",
        "transformers.py",
        "torch.py",
        "onnx.py",
    ):
        (folder / name).write_text(code(mark))
    settings = {"chat_template": "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}"}
    models.write_json(folder / "tokenizer_config.json", settings | {"model_max_length": 32})


IGNORED: dict[str, Callable[[Path, Path], None]] = {
    "auto_map": auto_map,
    "tokenizer_config.json": own_tokenizer,
    "beside": beside,
}
ENGINES = ["onnx", "torch"]


def used(folder: Path, **options: Any) -> None:
    encoder = load_encoder(folder, **options)
    encoder.encode_query(models.TEXT)
    encoder.encode_documents([models.TEXT])


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.jsonl"
    path.write_text('{"_id": "d1", "text": "ba be"}\n')
    return path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", REFUSED)
def test_no_model_runs_code_of_its_own(name: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, folder = tmp_path / "mark", tmp_path / "model"
    REFUSED[name](folder, mark)
    monkeypatch.chdir(folder)  # where `import` would look first, for some
    options = {} if name == "query_weights.npy" else {"engine": engine}
    with pytest.raises(EncoderError) as caught:
        used(folder, **options)
    assert str(caught.value).isprintable()
    assert not mark.exists()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", IGNORED)
def test_code_that_nobody_needs_is_left_alone(
    name: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, folder = tmp_path / "mark", tmp_path / "model"
    IGNORED[name](folder, mark)
    monkeypatch.chdir(folder)
    used(folder, engine=engine)
    load_encoder(folder).save(tmp_path / "saved")
    assert not mark.exists()


@pytest.mark.parametrize("name", REFUSED)
def test_no_command_runs_code_of_a_model(name: str, documents: Path, tmp_path: Path) -> None:
    mark, folder = tmp_path / "mark", tmp_path / "model"
    REFUSED[name](folder, mark)
    SparseVectors(indptr=[0, 1], indices=[0], values=[1], dim=len(models.TOKENS)).save(tmp_path / "v.npz")
    one_line(lsr("index", documents, "-o", tmp_path / "a.idx", "--encoder", folder))
    one_line(lsr("encode", documents, "-o", tmp_path / "a.npz", "--encoder", folder))
    # Imported vectors need no network before a text is searched.
    lsr("import", tmp_path / "v.npz", "-o", tmp_path / "b.idx", "--encoder", folder)
    one_line(lsr("search", tmp_path / "b.idx", "ba"))
    assert not mark.exists()


def test_code_is_run_for_those_who_trust_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the folders are what they should be: it is the trust that is missing."""
    import torch

    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    mark, folder = tmp_path / "mark", tmp_path / "model"
    own_code(folder, mark)
    used(folder, engine="torch", trust_remote_code=True)
    assert mark.exists()
    mark.unlink()
    pickled_weights(torch_zip)(tmp_path / "pickled", mark)
    torch.load(tmp_path / "pickled" / "pytorch_model.bin", weights_only=False)
    assert mark.exists()


@pytest.mark.parametrize("name", REFUSED)
def test_no_index_runs_code_of_the_model_that_it_names(name: str, documents: Path, tmp_path: Path) -> None:
    """An index whose queries go through a network finds another one in its place."""
    mark, folder = tmp_path / "mark", tmp_path / "model"
    models.plain(folder)
    index = tmp_path / "my.idx"
    Index.build(documents, index, encoder=folder)
    shutil.rmtree(folder)
    REFUSED[name](folder, mark)
    with pytest.raises(EncoderError):
        Index.open(index).search("ba")
    one_line(lsr("search", index, "ba"))
    one_line(lsr("add", index, documents))
    assert not mark.exists()


# -- other files than those that are read ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["secret.bin", "../secret.bin", "{tmp}/secret.bin", "model/secret.bin"])
def test_an_onnx_model_reads_no_other_files(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights may be said to lie anywhere, and would then be what the vectors show."""
    from random import Random

    import onnx

    from tests.reliability.loaders import repair_encoder

    folder = models.exported(tmp_path / "model")
    model = onnx.load(folder / "model.onnx")
    weight = next(one for one in model.graph.initializer if len(one.raw_data) > 100)
    for secret in (tmp_path / "secret.bin", folder / "secret.bin"):
        secret.write_bytes(weight.raw_data)
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (
        ("location", place.format(tmp=tmp_path)),
        ("offset", "0"),
        ("length", str(len(weight.raw_data))),
    ):
        weight.external_data.add(key=key, value=value)
    weight.ClearField("raw_data")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    repair_encoder(folder, "model.onnx", Random(1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncoderError, match="names weights in other files"):
        used(folder)


# -- texts that look like commands -------------------------------------------------------------------------------------

TEXTS = [
    "$(touch {mark})", "`touch {mark}`", "; touch {mark} ;", "| touch {mark}", "__import__('os').system('touch {mark}')",
    "{{{{ cycler.__init__.__globals__.os.system('touch {mark}') }}}}", "=cmd|'/c touch {mark}'!A1", "%{{touch {mark}}}",
    "!!python/object/apply:os.system ['touch {mark}']", "<script>touch {mark}</script>", "{{0.__class__}}",
]  # fmt: skip


def test_texts_ids_and_fields_are_never_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a mark without a folder would be here
    mark = tmp_path / "mark"
    texts = [text.format(mark=mark) for text in TEXTS]
    records = [{"_id": text, "title": text, "text": f"{text} ba be", text: text} for text in texts]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    index = Index.build(tmp_path / "d.jsonl", tmp_path / "my.idx", encoder=models.plain(tmp_path / "model"))
    assert len(index.search("ba be", k=50)) == len(texts)
    for text in texts:
        assert [hit.id for hit in index.search("ba be", k=50, filter={text: text})] == [text]
        assert [hit.id for hit in index.search(f"{text} ba", filter=[text])] == [text]
        field = text.replace("`", "``")
        assert len(index.search("ba be", filter=f"`{field}` != null")) == 1
        with pytest.raises(LsrError):
            list(read_documents(text))
        with pytest.raises(LsrError):
            load_encoder(text)
    before = set(tmp_path.iterdir())
    for command in (
        ["search", "my.idx", *texts, "--json"],
        ["search", "my.idx", "ba", "--explain"],
        ["export", "my.idx", "-o", "out.jsonl", "--format", "seismic-jsonl"],
        ["delete", "my.idx", *texts[:3]],
    ):
        done = lsr(*command)
        assert done.returncode == 0, done.stderr
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out.jsonl"}


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    from lsr.eval.reproduce import read_reproductions

    yaml_call(tmp_path / "one.yaml", tmp_path / "mark")
    with pytest.raises(InvalidInput, match="not YAML"):
        read_reproductions(tmp_path)
    assert not (tmp_path / "mark").exists()


RUNS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
}
PICKLES = {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "runpy"}
# Readers of pickles, and the argument that keeps them from it.
TAMED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def doubtful(tree: ast.AST) -> list[str]:
    """What runs or unpickles something in a program."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found += [f"import {name}" for name in names if name.split(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            argument, value = TAMED.get(name, ("shell", None))
            if (
                name in RUNS
                or given.get("shell", "False") != "False"
                or (name in TAMED and given.get(argument) != str(value))
            ):
                found.append(ast.unparse(node)[:80])
    return found


def test_nothing_in_lsr_unpickles_or_evaluates() -> None:
    root = Path(library.__file__).parent
    found = {
        path.relative_to(root).as_posix(): wrong
        for path in sorted(root.rglob("*.py"))
        if (wrong := doubtful(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == KNOWN


KNOWN: dict[str, list[str]] = {}


@pytest.mark.parametrize(
    "program",
    ["import pickle", "from marshal import loads", "eval(x)", "torch.load(p)", "np.load(p)", "run(x, shell=True)"],
)
def test_that_would_be_seen(program: str) -> None:
    assert doubtful(ast.parse(program))
