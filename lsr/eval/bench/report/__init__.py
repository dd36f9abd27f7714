"""The pages of a benchmark, made from its report.json and nothing else.

report ──write──▶ report.json ──▶ view ──▶ tables, plots ──▶ markdown, html
"""

from __future__ import annotations

from lsr.eval.bench.report.pages import PAGES, write_benchmark

__all__ = ["PAGES", "write_benchmark"]
