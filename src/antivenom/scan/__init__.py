"""Find injected code in model files without running it. This package imports neither torch nor numpy."""

from antivenom.scan.allow import AllowList, Tier, allow_list
from antivenom.scan.files import scan, scan_view
from antivenom.scan.findings import FileReport, Finding, Report
from antivenom.scan.limits import Limits
from antivenom.scan.rules import RULES, Rule, Status

__all__ = [
    "RULES",
    "AllowList",
    "FileReport",
    "Finding",
    "Limits",
    "Report",
    "Rule",
    "Status",
    "Tier",
    "allow_list",
    "scan",
    "scan_view",
]
