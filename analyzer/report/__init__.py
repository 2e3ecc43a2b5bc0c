"""The report: one page that opens from disk, and charts as PNG files."""

from analyzer.errors import ReportError
from analyzer.report.charts import write_charts
from analyzer.report.page import write_report
from analyzer.report.thumbnails import Pictures

__all__ = ["Pictures", "ReportError", "write_charts", "write_report"]
