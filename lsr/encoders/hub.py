"""Models of the Hugging Face hub: fetched to its cache with their revision recorded, and uploaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lsr.errors import EncoderError, EncoderNotFound, MissingExtra, one_line

__all__ = ["fetch", "is_hub_id", "model_folder", "upload"]

# What an encoder can be made of. Weights of other libraries, pictures and training logs stay where they are.
WANTED = [
    "*.json",
    "*.txt",
    "*.safetensors",
    "*.npy",
    "*.model",
    "artifact.metadata",
    "model.onnx",
    "query_model.onnx",
    "README.md",
]
CODE = ["*.py"]  # only for those who trust it
OLD_WEIGHTS = ["pytorch_model*.bin"]
UNWANTED = ["onnx/*", "openvino/*", "checkpoint-*/*", "runs/*", "*.h5", "*.msgpack"]


def is_hub_id(name: str) -> bool:
    """Whether it has the form of a hub id: owner/name."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None


def model_folder(
    model: str | Path,
    revision: str | None = None,
    *,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
) -> tuple[Path, str]:
    """The folder of that name, or the one that the hub gives for owner/name or owner/name@revision, and what the model is
    known by: its absolute path, or hub id@commit.

    Raises `EncoderNotFound` where there is neither.
    """
    try:
        folder = Path(model).expanduser()
        found = str(model) != "" and folder.is_dir()  # no name is not the current folder
    except (OSError, RuntimeError, ValueError):  # too long a name; ~somebody who is not known here
        found = False
    if found:
        return folder, str(folder.absolute())
    name, _, named = str(model).partition("@")
    if not is_hub_id(name):
        raise EncoderNotFound(f"no model {str(model)[:200]!r}: give the path of a folder, or a hub id (owner/name)")
    fetched, commit = fetch(
        name, revision or named or None, trust_remote_code=trust_remote_code, local_files_only=local_files_only
    )
    return fetched, f"{name}@{commit}"


def fetch(
    repo_id: str,
    revision: str | None = None,
    *,
    trust_remote_code: bool = False,
    local_files_only: bool = False,
    token: str | None = None,
) -> tuple[Path, str]:
    """The folder of a model in the hub's cache, and the commit it is of. Nothing is fetched that is there already.

    Raises `EncoderNotFound` when the hub knows no such model or cannot be reached.
    """
    wanted = WANTED + (CODE if trust_remote_code else [])
    options = {"revision": revision, "local_files_only": local_files_only, "token": token}
    folder = _snapshot(repo_id, wanted, options)
    if not any(folder.rglob("*.safetensors")) and not (folder / "model.onnx").is_file():
        folder = _snapshot(repo_id, wanted + OLD_WEIGHTS, options)
    return folder, folder.name  # the cache names its folders by commit


def upload(save: Callable[[Path], None], repo_id: str, *, private: bool, token: str | None, message: str) -> str:
    """Uploads what `save` writes to a folder. Returns the address of the commit.

    Raises `EncoderError` when the hub refuses or cannot be reached.
    """
    hub = _hub()
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        save(folder)
        try:
            api = hub.HfApi(token=token)
            named = api.create_repo(repo_id, private=private, exist_ok=True).repo_id  # with its owner
            return str(api.upload_folder(repo_id=named, folder_path=folder, commit_message=message).commit_url)
        except Exception as error:  # as in _snapshot
            raise EncoderError(
                f"{repo_id}: cannot be uploaded ({_reason(error)}); is there a token that may write?"
            ) from None


def _snapshot(repo_id: str, wanted: list[str], options: Mapping[str, Any]) -> Path:
    hub = _hub()
    try:
        found = hub.snapshot_download(repo_id, allow_patterns=wanted, ignore_patterns=UNWANTED, **options)
    except Exception as error:  # its own errors, the HTTP library's and the operating system's have no common base
        at = f" at revision {options['revision']}" if options["revision"] else ""
        raise EncoderNotFound(
            f"no encoder {repo_id!r}: no such folder, and the hub gave none{at} ({_reason(error)}); without network, copy "
            "the model's folder to this machine and give its path"
        ) from None
    return Path(found)


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtra("huggingface_hub", "torch", "fetching a model of the hub") from None
    return huggingface_hub


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)[:160]}"
