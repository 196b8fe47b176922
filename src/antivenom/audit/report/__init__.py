"""One self-contained page from an audit's records: no network, no script, the same numbers as every other view."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from antivenom.audit.report.page import page
from antivenom.audit.store import Store
from antivenom.audit.summary import Summary, summarise
from antivenom.errors import StoreError


def write_report(folder: Path) -> Path:
    """Write `folder/report.html` from the records there and return its path; an older report is replaced whole.

    Raises:
        StoreError: no records there, or no place to write.
    """
    store = Store(folder)
    summary = summarise(store.plan(), store.trials())
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
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2").render(page(summary, sha256))


def _plain(value: object) -> object:
    """Text from plugins and data without control characters and without the user's home folder."""
    if type(value) is not str:
        return value
    text = value.replace(str(Path.home()), "~") if len(str(Path.home())) > 1 else value
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
