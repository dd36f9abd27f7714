"""The index folder: manifest, raw arrays, ids and texts; writing and changing it, and checking it before anything trusts it.

    my.idx/
      LOCK                        held by the process that changes the index
      manifest-000002.json        what is here: counts, and name, size, type, shape and checksum of every file
      encoder/                    query side of the encoder: tokenizer.json, term weights (absent: made from vectors)
      segment-0001/               write-once arrays, little-endian, mapped into memory as they are
      deleted-0001-0002           which documents of segment 1 are deleted, in generation 2

`manifest` is the data, `arrays` writes and maps files, `segment` names the arrays and checks how they fit together,
`records` holds ids and texts, `regular` opens what must be a plain file, `check` verifies. `folder` makes a folder appear as
a whole or not at all, `commit` changes one that is there, with `locks` and `lsr.disk`; `checkpoint` notes how far long work
came. `repair` goes back to an earlier generation, `archive` writes one as a file and makes a folder of it again (`frame`).
"""
