"""`lsr index`: documents to an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr.cli.options import (
    BatchSize,
    Device,
    EncoderName,
    Engine,
    IdField,
    Long,
    MaxLength,
    Precision,
    SampleQueries,
    SourceName,
    Stride,
    TextField,
)
from lsr.cli.run import note, note_long
from lsr.cli.tokens import begun, make_tokens

if TYPE_CHECKING:
    from lsr.sparse import SparseVectors

__all__ = ["index", "read_sample", "say_built"]


def index(
    source: SourceName,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="INDEX", help="Folder to make.", show_default=False)
    ],
    encoder: EncoderName = None,
    engine: Engine = "auto",
    sample_queries: SampleQueries = None,
    batch_size: BatchSize = 2048,
    max_length: MaxLength = None,
    long: Long = "truncate",
    stride: Stride = None,
    device: Device = None,
    precision: Precision = None,
    id_field: IdField = None,
    text_field: TextField = None,
    duplicates: Annotated[
        str,
        typer.Option(
            metavar="error|first", help="A document whose id came before is an error, or is left out (first)."
        ),
    ] = "error",
    keep_text: Annotated[bool, typer.Option(help="Store the texts, compressed, to show them with hits.")] = True,
    corpus_idf: Annotated[
        bool | None,
        typer.Option(
            "--corpus-idf/--no-corpus-idf",
            help="Adapt the term weights of queries to the documents. (default: as the encoder says)",
            show_default=False,
        ),
    ] = None,
    multivector: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Also keep token vectors of this ColBERT (a folder, or a hub id), for lsr search --rerank maxsim.",
            show_default=False,
        ),
    ] = None,
    codec: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="With --multivector: how token vectors are kept: f32, f16, int8, int4, residual2, pq."
        ),
    ] = "int8",
    pool_tokens: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="With --multivector: keep N times fewer token vectors, each the mean of some alike.",
        ),
    ] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Keep what is done when interrupted, and go on from there; of an index that is there, with --multivector.",
        ),
    ] = False,
) -> None:
    """Build an index from documents or vectors."""
    from lsr.cli.progress import showing_progress
    from lsr.index import Index

    tokens = None
    if multivector is None and (codec, pool_tokens) != ("int8", 1):
        hint = "--pool-tokens" if codec == "int8" else "--codec"
        raise typer.BadParameter("only with --multivector MODEL", param_hint=hint)
    if multivector is not None:  # before anything is built
        if not keep_text:
            raise typer.BadParameter("token vectors are made of the stored texts: leave --no-keep-text out")
        from lsr.rerank import codec_class, load_multivector_encoder

        codec_class(codec)
        tokens = load_multivector_encoder(multivector, device=device)
    if tokens is not None and resume and (built := begun(output, source, encoder, overwrite)) is not None:
        note(f"{output} is built: going on with its token vectors")
        make_tokens(built, tokens, codec, pool_tokens, resume=True)
        return
    with showing_progress() as progress:
        built = Index.build(
            source,
            output,
            encoder=encoder,
            engine=engine,
            sample_queries=None if sample_queries is None else read_sample(sample_queries),
            batch_size=batch_size,
            max_length=max_length,
            long=long,
            stride=stride,
            device=device,
            precision=precision,
            id_field=id_field,
            text_fields=text_field or (),
            duplicates=duplicates,
            keep_text=keep_text,
            corpus_idf=corpus_idf,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )
    say_built(built)
    if tokens is not None:
        make_tokens(built, tokens, codec, pool_tokens, resume=resume)
    else:
        note(f'Next: lsr search {output} "your question"')


def read_sample(file: str) -> SparseVectors | list[str]:
    """The queries of a file: vectors of a .npz, else texts."""
    from lsr.corpus import read_queries
    from lsr.sparse import SparseVectors

    return SparseVectors.load(file) if file.endswith(".npz") else [query.text for query in read_queries(file)]


def say_built(built: object) -> None:
    """One line on what was built, and one on what was cut."""
    from lsr.cli.show import size
    from lsr.index import Index

    assert isinstance(built, Index)
    report, total = built.build_report, built.info()["bytes"]["total"]
    assert report is not None
    rate = report.documents / max(report.seconds, 1e-9)
    if report.resumed:
        note(f"went on after the {report.resumed:,} documents of the interrupted run")
    if report.skipped:
        note(f"left out, for their ids came before: {report.skipped:,} documents")
    note(
        f"{report.documents:,} documents in {report.seconds:.1f} s ({rate:,.0f} a second), {size(total)}: {built.path}"
    )
    if built.manifest.encoder is not None and built.manifest.encoder.reading is not None:
        note_long(report.truncated, built.manifest.encoder.reading)
