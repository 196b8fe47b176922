"""One self-contained page from an audit's records: no network, no script, the same numbers as every other view."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from antivenom.audit.formatting import shown
from antivenom.audit.records import Store
from antivenom.audit.report.page import contents
from antivenom.audit.results import Summary
from antivenom.audit.summary import summary_of
from antivenom.core.errors import StoreError


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` from the records there and return its path; an older report is replaced whole.

    Raises:
        StoreError: no records there, or no place to write.
    """
    store = Store(folder)
    summary = summary_of(store)
    text = render(summary, hashlib.sha256(store.path.read_bytes()).hexdigest())
    path, draft = folder / "report.html", folder / ".report.html.part"
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise StoreError(
            f"a place to write {path}", f"{error.strerror}", f"make room, then: antivenom report {folder}"
        ) from error
    return path


def render(summary: Summary, sha256: str = "") -> str:
    """The page as text. `sha256` is that of records.jsonl. Equal summaries give equal bytes."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("antivenom.audit.report", "."),
        autoescape=True,
        finalize=_line_by_line,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template("report.html.j2").render(contents(summary, sha256))
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _line_by_line(value: object) -> object:
    """Text without control characters; what is marked as safe is a figure, which has cleaned its own."""
    return "\n".join(map(shown, value.split("\n"))) if type(value) is str else value
