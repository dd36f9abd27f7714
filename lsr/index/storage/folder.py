"""Making a folder appear as a whole or not at all: an index, or a store beside it."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple

from lsr import disk
from lsr.errors import LsrError, OutputExists, StorageError
from lsr.index.storage.generations import Form, holds
from lsr.index.storage.locks import AVAILABLE, claimed, is_claimed, writing
from lsr.index.storage.manifest import INDEX

__all__ = ["CHECKPOINT", "check_output", "new_folder", "partial_of", "scratch_folder"]

# The file that a run can go on from. Without it nothing is kept.
CHECKPOINT = "checkpoint"


def check_output(path: Path, overwrite: bool, form: Form = INDEX) -> None:
    """Raises `OutputExists` unless an index, or what `form` is, may be written at `path`. Only its like is ever overwritten.

    Raises `StorageError` for what cannot be the name of a folder.
    """
    disk.check_name(path)
    if not (disk.exists(path) or path.is_symlink()):
        return
    if not holds(path, form):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            return  # an empty folder, made in advance
        raise OutputExists(f"{path}: exists and is not {form.one}, so it is left alone; choose another output path")
    if not overwrite:
        raise OutputExists(f"{path}: {form.one} is there already; --overwrite (overwrite=True) replaces it")


class Workplace(NamedTuple):
    """Where a build works: `target` becomes the index, `scratch` holds what is needed until then."""

    target: Path
    scratch: Path


def partial_of(path: Path) -> Path:
    """Where a run with `resume` works that makes something at `path`, and keeps what it had done when it is interrupted."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def new_folder(path: Path, overwrite: bool, resume: bool = False, form: Form = INDEX) -> Iterator[Workplace]:
    """A working folder beside `path`: its `target` takes that name when the block ends well, the rest vanishes.

    With `resume`, `scratch` stays when the block fails, and the next call with `resume` finds it again; `target` always
    starts empty, for files that the new run does not write would stay in it.
    The old index, if one is replaced, stays in place and readable until the new one is complete and on the disk.
    An OSError (a full disk, a missing parent folder) becomes a `StorageError` that names the path.
    """
    check_output(path, overwrite, form)
    if path.is_symlink():  # to one: what it points to is replaced, from the same disk
        path = path.resolve()
    work = partial_of(path) if resume else path.with_name(f".{path.name}.{secrets.token_hex(4)}.building")
    place = Workplace(work / "target", work / "scratch")
    done = False
    claim = ExitStack()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_away(path)
        disk.make_folder(work, exist_ok=resume)
        claim.enter_context(claimed(work))
        if place.target.exists():  # of a run that was killed
            disk.remove_tree(place.target)
        disk.make_folder(place.target)
        disk.make_folder(place.scratch, exist_ok=resume)
        yield place
        _replace(place.target, path)
        done = True
    except OSError as error:
        if isinstance(error, LsrError):  # some of ours are OSErrors too
            raise
        reason = error.strerror or str(error)
        rest = f"what was done is kept in {work} for --resume" if resume else "nothing was left behind"
        raise StorageError(f"{path}: the {form.noun} cannot be written ({reason}); {rest}") from error
    finally:
        claim.close()
        if done or not resume:
            shutil.rmtree(work, ignore_errors=True)
        else:
            shutil.rmtree(place.target, ignore_errors=True)
            if not (place.scratch / CHECKPOINT).exists():
                shutil.rmtree(work, ignore_errors=True)


@contextmanager
def scratch_folder(path: Path, resume: bool) -> Iterator[Path]:
    """A folder beside the file `path`: what the block writes there under the same name takes its place, the rest vanishes.

    With `resume` it stays when the block fails, if there is a checkpoint in it. An OSError becomes a `StorageError` that
    names the path.
    """
    scratch = partial_of(path) if resume else path.with_name(f".{path.name}.{secrets.token_hex(4)}.building")
    done = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.make_folder(scratch, exist_ok=resume)
        yield scratch
        disk.replace(scratch / path.name, path)
        disk.sync_folder(path.parent)
        done = True
    except OSError as error:
        if isinstance(error, LsrError):
            raise
        rest = f"what was done is kept in {scratch} for --resume" if resume else "nothing was left behind"
        raise StorageError(f"{path}: cannot be written ({error.strerror or error}); {rest}") from error
    finally:
        if done or not resume:
            shutil.rmtree(scratch, ignore_errors=True)
        else:
            (scratch / path.name).unlink(missing_ok=True)
            if not (scratch / CHECKPOINT).exists():
                shutil.rmtree(scratch, ignore_errors=True)


def _clear_away(path: Path) -> None:
    """Removes what builds of this index left that were killed. Those with --resume are kept."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.(building|replaced)")
    for folder in sorted(path.parent.iterdir()):
        # Where it cannot be removed, building fails for a better reason, or not at all.
        with suppress(OSError):
            if left.fullmatch(folder.name) and not folder.is_symlink() and not is_claimed(folder):
                disk.remove_tree(folder)


def _replace(new: Path, path: Path) -> None:
    for folder in [new, *(child for child in new.rglob("*") if child.is_dir())]:
        disk.sync_folder(folder)
    if path.exists() and any(path.iterdir()):
        old = path.with_name(f".{path.name}.{secrets.token_hex(4)}.replaced")
        # Nobody may be adding to what goes away.
        with writing(path) if AVAILABLE else nullcontext():
            if disk.exchange(new, path):
                old = new
            else:  # for a moment there is no index
                disk.rename(path, old)
                try:
                    disk.rename(new, path)
                except BaseException:
                    if not path.exists():
                        old.rename(path)
                    raise
            disk.sync_folder(path.parent)
        with suppress(OSError):
            disk.remove_tree(old)
        return
    if path.exists():
        path.rmdir()
    disk.rename(new, path)
    disk.sync_folder(path.parent)
