"""Training: a recipe and data become an encoder."""

from __future__ import annotations

from lsr.training.adapt import recipe_for
from lsr.training.recipe import Recipe, read_recipe
from lsr.training.train import Report, train, working_folder
from lsr.training.trainer import Diverged

__all__ = ["Diverged", "Recipe", "Report", "read_recipe", "recipe_for", "train", "working_folder"]
