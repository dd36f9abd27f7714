"""The student that a recipe asks for."""

from __future__ import annotations

from pathlib import Path

from lsr.training.recipe import MULTIVECTOR, Recipe
from lsr.training.sparse_student import SparseStudent
from lsr.training.student import Student
from lsr.training.token_student import TokenStudent

__all__ = ["student_of"]


def student_of(recipe: Recipe, scratch: Path, precision: str) -> Student:
    """Not yet built; `scratch` is for the files of a bundled start. Raises what opening the start raises."""
    kind = TokenStudent if recipe.document.kind == MULTIVECTOR else SparseStudent
    return kind(recipe, scratch, precision)
