"""Models of the Hugging Face hub, fetched and uploaded; the hub is a folder here."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils._paths import filter_repo_objects

from lsr import Index
from lsr.encoders import load_encoder
from lsr.encoders.hub import is_hub_id
from lsr.errors import EncoderError, EncoderNotFound
from tests.encoders import families

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["ba be bi", "bo bu ca ba"]


@dataclass
class Hub:
    """Stands for the hub: `models` lie in a folder, and what is asked for is copied to a cache laid out like the real one."""

    work: Path
    asked: list[dict[str, Any]] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)

    def folder(self, repo_id: str) -> Path:
        return self.work / "models" / repo_id

    def cached(self, repo_id: str) -> Path:
        return self.work / "cache" / f"models--{repo_id.replace('/', '--')}" / "snapshots" / COMMIT

    def names(self, repo_id: str) -> set[str]:
        """What was fetched."""
        root = self.cached(repo_id)
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def snapshot_download(
        self, repo_id: str, *, allow_patterns: list[str], ignore_patterns: list[str], **settings: Any
    ) -> str:
        self.asked.append({"repo_id": repo_id, **settings})
        root = self.folder(repo_id)
        names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
        for name in filter_repo_objects(names, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns):
            target = self.cached(repo_id) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
        return str(self.cached(repo_id))

    def api(self) -> type[HfApi]:
        hub = self

        class Api(HfApi):
            def create_repo(self, repo_id: str, **settings: Any) -> Any:
                hub.made.append({"repo_id": repo_id, "token": self.token, **settings})
                return SimpleNamespace(repo_id=repo_id if "/" in repo_id else f"me/{repo_id}")

            def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> Any:  # type: ignore[override]
                hub.made.append({"folder": folder_path, "message": commit_message})
                shutil.copytree(folder_path, hub.folder(repo_id))
                return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/{COMMIT}")

        return Api


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found.snapshot_download)
    monkeypatch.setattr(huggingface_hub, "HfApi", found.api())
    monkeypatch.chdir(tmp_path)
    return found


@pytest.fixture
def model(hub: Hub, model_folder: Path) -> Path:
    """The files of "org/name" on the hub."""
    return Path(shutil.copytree(model_folder, hub.folder("org/name")))


# -- fetched -----------------------------------------------------------------------------------------------------------


def test_a_hub_id_is_a_model_with_its_commit_on_record(hub: Hub, model: Path) -> None:
    encoder, local = load_encoder("org/name"), load_encoder(model)
    assert encoder.source == f"org/name@{COMMIT}"
    assert (encoder.name, encoder.hash) == ("name", local.hash)
    assert encoder.encode_documents(TEXTS) == local.encode_documents(TEXTS)
    assert encoder.encode_query(TEXTS) == local.encode_query(TEXTS)
    assert [call["repo_id"] for call in hub.asked] == ["org/name"]


@pytest.mark.parametrize("revision", [None, "v1.0", COMMIT])
def test_the_revision_is_asked_for(revision: str | None, hub: Hub, model: Path) -> None:
    load_encoder("org/name", revision=revision)
    assert [call["revision"] for call in hub.asked] == [revision]


def test_an_export_has_its_commit_on_record_too(hub: Hub, exported: Path) -> None:
    shutil.copytree(exported, hub.folder("org/exported"))
    assert load_encoder("org/exported").source == f"org/exported@{COMMIT}"


def test_a_revision_may_stand_after_the_id(hub: Hub, model: Path) -> None:
    load_encoder("org/name@v2", local_files_only=True)
    assert (hub.asked[0]["revision"], hub.asked[0]["local_files_only"]) == ("v2", True)


def test_the_query_side_of_another_model_comes_from_the_hub_as_well(hub: Hub, model: Path) -> None:
    encoder = load_encoder(model, query="org/name")
    assert [call["repo_id"] for call in hub.asked] == ["org/name"]
    assert encoder.encode_query(TEXTS) == load_encoder(model).encode_query(TEXTS)


def test_an_index_makes_nobody_fetch_the_encoder_that_it_names(hub: Hub, model: Path, tmp_path: Path) -> None:
    Index.build(TEXTS, tmp_path / "my.idx", encoder="org/name")
    hub.asked.clear()
    index = Index.open(tmp_path / "my.idx")
    index.search("log")
    index.add(["one more"])
    assert [call["local_files_only"] for call in hub.asked] == [True] * len(hub.asked)
    assert hub.asked, "documents are encoded by it, from the cache"
    Index.open(tmp_path / "my.idx", encoder="org/name")  # this asks for it
    assert not hub.asked[-1]["local_files_only"]


def test_a_folder_of_that_name_goes_before_the_hub(hub: Hub, model: Path) -> None:
    shutil.copytree(model, hub.work / "org" / "name")
    assert load_encoder("org/name").source == str(hub.work / "org" / "name")
    assert hub.asked == []


@pytest.mark.parametrize("trusted", [False, True])
def test_code_is_fetched_only_for_those_who_trust_it(trusted: bool, hub: Hub, model: Path) -> None:
    (model / "modeling.py").write_text("")
    load_encoder("org/name", trust_remote_code=trusted)
    assert ("modeling.py" in hub.names("org/name")) == trusted


@pytest.mark.parametrize("trusted", [False, True])
def test_old_weights_are_fetched_only_where_there_are_no_others(
    trusted: bool, hub: Hub, model: Path, exported: Path
) -> None:
    pytest.importorskip("transformers")
    families.pickled(hub.folder("org/old"))
    shutil.copytree(exported, hub.folder("org/exported"))
    for folder in (model, hub.folder("org/exported")):
        (folder / "pytorch_model.bin").write_bytes(b"old")
    for folder in (model, hub.folder("org/old")):
        (folder / "modeling.py").write_text("")
    expected = load_encoder(hub.folder("org/old")).encode_documents(families.TEXTS)
    assert load_encoder("org/old", trust_remote_code=trusted).encode_documents(families.TEXTS) == expected
    load_encoder("org/name")
    load_encoder("org/exported")
    assert "pytorch_model.bin" in hub.names("org/old")
    assert ("modeling.py" in hub.names("org/old")) == trusted
    assert "pytorch_model.bin" not in hub.names("org/name") | hub.names("org/exported")


def test_what_no_encoder_needs_stays_on_the_hub(hub: Hub, model: Path) -> None:
    needed = {path.name for path in model.iterdir()}
    unneeded = ["onnx/model.onnx", "openvino/openvino_model.json", "checkpoint-500/model.safetensors", "runs/a.json"]
    unneeded += ["tf_model.h5", "flax_model.msgpack", "rust_model.ot", "picture.png", ".gitattributes"]
    for name in unneeded:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(b"x")
    load_encoder("org/name")
    assert hub.names("org/name") == needed


def test_modules_in_folders_of_their_own_are_fetched(hub: Hub) -> None:
    pytest.importorskip("transformers")
    folder = families.router5(hub.folder("org/router"), document="document_0_MLMTransformer")
    found, expected = load_encoder("org/router"), load_encoder(folder)
    assert found.encode_query(families.TEXTS) == expected.encode_query(families.TEXTS)
    assert found.encode_documents(families.TEXTS) == expected.encode_documents(families.TEXTS)


# -- not fetched -------------------------------------------------------------------------------------------------------

ERRORS: dict[str, Callable[[], Exception]] = {
    "offline": lambda: OfflineModeIsEnabled("cannot reach\nhttps://hub: offline"),
    "not in the cache": lambda: LocalEntryNotFoundError("An error\n\thappened " + "x" * 5000),
    "no network": lambda: ConnectionError("refused"),
    "no space": lambda: OSError(28, "No space left on device"),
    "says nothing": lambda: RuntimeError(),
}


def fail(error: Callable[[], Exception]) -> Callable[..., Any]:
    def failing(*_: object, **__: object) -> None:
        raise error()

    return failing


@pytest.mark.parametrize("kind", ERRORS)
def test_a_hub_that_gives_nothing_is_an_encoder_not_found(kind: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail(ERRORS[kind]))
    with pytest.raises(EncoderNotFound) as caught:
        load_encoder("org/name", revision="v7")
    message = str(caught.value)
    assert message.startswith("no encoder 'org/name'")
    assert "\n" not in message
    assert len(message) < 500
    for part in (type(ERRORS[kind]()).__name__, "revision v7", "copy the model's folder", "give its path"):
        assert part in message


def test_a_repository_that_holds_no_model_is_refused(hub: Hub) -> None:
    hub.folder("org/data").mkdir(parents=True)
    (hub.folder("org/data") / "README.md").write_text("a data set")
    with pytest.raises(EncoderError, match=r"config\.json"):
        load_encoder("org/data")


@pytest.mark.parametrize("name", ["name", "./org/name", "/org/name", "org/name/part", "../name", "org/", "~/name"])
def test_other_paths_are_none_and_never_reach_the_hub(name: str, hub: Hub) -> None:
    assert is_hub_id("org/name")
    assert not is_hub_id(name)
    with pytest.raises(EncoderNotFound, match="hub id"):
        load_encoder(name)
    assert hub.asked == []


# -- uploaded ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["network", "exported"])
def test_what_is_pushed_is_a_folder_that_loads(kind: str, hub: Hub, model: Path, exported: Path) -> None:
    (model / "idf.json").unlink()
    encoder = load_encoder(model if kind == "network" else exported, max_length=12)
    url = encoder.push_to_hub("me/mine", private=True, token="secret", message="First")
    assert url == f"https://hub/me/mine/commit/{COMMIT}"
    created, uploaded = hub.made
    assert created == {"repo_id": "me/mine", "token": "secret", "private": True, "exist_ok": True}
    assert uploaded["message"] == "First"
    assert not Path(uploaded["folder"]).exists(), "the temporary folder is left"
    again = load_encoder("me/mine")
    assert again.max_length == 12
    assert again.encode_documents([*TEXTS, "ba " * 50]) == encoder.encode_documents([*TEXTS, "ba " * 50])
    assert again.encode_query(TEXTS) == encoder.encode_query(TEXTS)


def test_a_repository_is_public_unless_asked_otherwise(hub: Hub, exported: Path) -> None:
    load_encoder(exported).push_to_hub("me/mine")
    assert [hub.made[0]["private"], hub.made[0]["token"]] == [False, None]


def test_a_repository_without_an_owner_is_the_users_own(hub: Hub, exported: Path) -> None:
    assert "/me/mine/" in load_encoder(exported).push_to_hub("mine")


@pytest.mark.parametrize("kind", ERRORS)
def test_a_hub_that_takes_nothing_is_an_encoder_error(
    kind: str, hub: Hub, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = SimpleNamespace(create_repo=fail(ERRORS[kind]), upload_folder=fail(ERRORS[kind]))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: refusing)
    with pytest.raises(EncoderError) as caught:
        load_encoder(exported).push_to_hub("me/mine")
    message = str(caught.value)
    assert message.startswith("me/mine: cannot be uploaded")
    assert type(ERRORS[kind]()).__name__ in message
    assert message.endswith("is there a token that may write?")
    assert "\n" not in message
