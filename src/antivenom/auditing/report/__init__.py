"""The HTML report: one self-contained page made from an audit's records, without network access or scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from antivenom.auditing.comparing import Comparison, compare, with_baseline
from antivenom.auditing.formatting import shown
from antivenom.auditing.records import Store
from antivenom.auditing.report.page import contents
from antivenom.auditing.results import Summary
from antivenom.auditing.summary import summary_of
from antivenom.core.errors import StoreError
from antivenom.core.garbage import uncollected
from antivenom.core.regular import write_whole

if TYPE_CHECKING:
    from markupsafe import Markup


def write_report(folder: Path, baseline: Path | None = None) -> Path:
    """Write `folder/report.html` from the records in the folder and return its path.

    Args:
        folder: the folder of an audit.
        baseline: that of an earlier audit, with which the page compares this one.

    Raises:
        StoreError: the folder holds no records, or the report cannot be written.
    """
    store = Store(folder)
    with uncollected():
        summary = summary_of(store)
        comparison = None if baseline is None else compare(baseline, summary)
        return write_page(store, with_baseline(summary, comparison), comparison)


def write_page(store: Store, summary: Summary, comparison: Comparison | None = None) -> Path:
    """Write `report.html` of this summary, compared with a baseline or not, beside the records and return its path.

    An older report is replaced only when the new one is complete.

    Raises:
        StoreError: the report cannot be written.
    """
    folder = store.path.parent
    text = render(summary, store.sha256(), comparison)
    path = folder / "report.html"
    try:
        write_whole(path, text.encode("utf-8"))
    except OSError as error:
        raise StoreError(
            f"a place to write {path}", f"{error.strerror}", f"when it can be written: antivenom report {folder}"
        ) from error
    return path


def render(summary: Summary, sha256: str = "", comparison: Comparison | None = None) -> str:
    """The page as text. Equal arguments give equal bytes. The path of the home folder is shortened to ~.

    Args:
        summary: what the page shows.
        sha256: the hash of records.jsonl, which the page states; empty to leave it out.
        comparison: what changed since the baseline; None if there is none.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("antivenom.auditing.report", "."),
        autoescape=True,
        finalize=_line_by_line,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["ticked"] = _ticked
    text = environment.get_template("report.html.j2").render(contents(summary, sha256, comparison))
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _ticked(text: str) -> Markup:
    """Text with its parts between backticks as code."""
    from markupsafe import Markup, escape

    parts = (escape(shown(part)) for part in text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def _line_by_line(value: object) -> object:
    """Replace control characters in text. Markup, a subclass of str, passes: figures have cleaned their own text."""
    return "\n".join(map(shown, value.split("\n"))) if type(value) is str else value
