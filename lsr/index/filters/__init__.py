"""Searching a part of an index: metadata as typed columns, expressions over them, and masks of the documents they allow.

`expression` says what a filter is and reads it from Python objects, `text` reads it from a line of text. `collect` and
`strings` write the columns while an index is built, `columns` opens them, `masks` turns an expression into a mask that the
engines take.
"""
