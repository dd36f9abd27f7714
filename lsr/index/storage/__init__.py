"""The index folder: manifest, raw arrays, ids and texts; writing it whole, and checking it before anything trusts it.

    my.idx/
      manifest-000001.json        what is here: counts, and name, size, type, shape and checksum of every file
      encoder/                    query side of the encoder: tokenizer.json, term weights (absent: made from vectors)
      segment-<hex>/              write-once arrays, little-endian, mapped into memory as they are

`manifest` is the data, `arrays` writes and maps files, `segment` names the arrays and checks how they fit together,
`records` holds ids and texts, `folder` makes a folder appear as a whole or not at all.
"""
