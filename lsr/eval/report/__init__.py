"""The report: report.json, checked by a schema, and the pages (Markdown, HTML, LaTeX) made from it.

    report ──write──▶ report.json ──▶ view ──▶ tables, words ──▶ markdown, html (with plots), latex

Every page is made from what report.json says and nothing else, so that it can be made again from the file alone.
"""

from __future__ import annotations

from lsr.eval.report.schema import load_report, load_summary, require, schema, validate_report, validate_summary
from lsr.eval.report.write import write_report, write_summary

__all__ = [
    "load_report",
    "load_summary",
    "require",
    "schema",
    "validate_report",
    "validate_summary",
    "write_report",
    "write_summary",
]
