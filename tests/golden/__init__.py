"""Indexes as they were written in each version of the format, and what they answer: an old index must go on answering so."""
