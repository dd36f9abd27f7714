"""`lsr import`: vectors that another program wrote, or a snapshot, to an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr.cli.options import Engine
from lsr.cli.run import note
from lsr.cli.snapshots import import_snapshot, is_snapshot

__all__ = ["import_vectors"]


def import_vectors(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="File of vectors (of anserini and seismic-jsonl also a folder), or a snapshot.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="INDEX", help="Folder to make.", show_default=False)
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="scipy, bigann, seismic-jsonl, seismic-bin, ciff, anserini, safetensors, torch, or snapshot. (default: as"
            " the file's ending or its first bytes say; .tar.zst is a snapshot)",
            show_default=False,
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            metavar="NAME_OR_PATH",
            help="Encoder that made the vectors: the index keeps its query side, and is searched with texts. (default: none)",
            show_default=False,
        ),
    ] = None,
    engine: Engine = "auto",
    dim: Annotated[
        int | None,
        typer.Option(min=1, help="Number of terms. (default: as the file or the encoder says)", show_default=False),
    ] = None,
    scale: Annotated[float, typer.Option(help="What weights are multiplied by.")] = 1.0,
    drop_unknown: Annotated[
        bool, typer.Option("--drop-unknown", help="Leave out tokens that the encoder does not know.")
    ] = False,
    keep_text: Annotated[bool, typer.Option(help="Store texts that the file has, to show them with hits.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
) -> None:
    """Build an index from vectors that another program wrote, or restore one from a snapshot.

    docs/formats.md says what is read of each format.
    """
    if is_snapshot(file, form):
        _check_plain(
            encoder=encoder is not None,
            engine=engine != "auto",
            dim=dim is not None,
            scale=scale != 1,
            drop_unknown=drop_unknown,
            no_keep_text=not keep_text,
        )
        import_snapshot(file, output, overwrite=overwrite)
        return
    from lsr.cli.index import say_built
    from lsr.cli.progress import showing_progress
    from lsr.index import Index
    from lsr.index.formats import open_vectors
    from lsr.index.storage.folder import check_output

    check_output(output, overwrite)  # before a large file is read for its tokens
    loaded = None
    if encoder is not None:
        from lsr.encoders import load_encoder

        loaded = load_encoder(encoder)
        dim = loaded.dim if dim is None else dim
    opened = open_vectors(
        file,
        form,
        vocabulary=None if loaded is None else loaded.vocabulary.tokens,
        dim=dim,
        scale=scale,
        drop_unknown=drop_unknown,
    )
    with showing_progress() as progress:
        built = Index.build(
            opened,
            output,
            encoder=loaded,
            engine=engine,
            keep_text=keep_text,
            overwrite=overwrite,
            progress=progress,
        )
    say_built(built)
    if opened.terms is not None and opened.terms.dropped:
        note(f"left out, for {encoder} does not know them: {opened.terms.dropped:,} tokens")
    if loaded is not None:
        note(f'Next: lsr search {output} "your question"')
        return
    if opened.tokens is not None:
        note(f"terms are the {opened.dim:,} tokens of the file, sorted; the index keeps them")
    note(
        "made without an encoder: search it from Python with SparseVectors"
        + ("" if opened.tokens is None else " (lsr.read_vectors(queries, vocabulary=index.tokens) reads them)")
    )


def _check_plain(**given: bool) -> None:
    """Raises `InvalidInput` for options that say how vectors are read."""
    from lsr.errors import InvalidInput

    named = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if named:
        raise InvalidInput(f"{', '.join(named)}: not with a snapshot, which brings the index as it was")
