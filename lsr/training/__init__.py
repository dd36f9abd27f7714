"""Training: a recipe and data become an encoder."""
