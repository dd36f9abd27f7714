"""The report of a search for a pipeline: report.json, and one page made of it."""

from __future__ import annotations

from lsr.rag.report.pages import read_report, report_html, write_report
from lsr.rag.report.view import StudyView

__all__ = ["StudyView", "read_report", "report_html", "write_report"]
