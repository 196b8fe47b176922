"""Write the catalogue: a page for every plugin and data set that the registry knows."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
from pathlib import Path
from typing import Any

from antivenom.auditing.grid import label
from antivenom.core.registry import ATTACKS, DEFENCES, Entry, Kind, entries, fields_of
from antivenom.data import DATASETS

FOLDER = Path(__file__).parent / "catalogue"
KEY = {
    Kind.ARCHITECTURE: "model",
    Kind.ESTIMATOR: "model",
    Kind.SCHEDULE: "training",
    Kind.AUGMENTATION: "training",
    Kind.TRIGGER: "trigger",
    Kind.WANTED: "wanted",
    Kind.PARTITION: "partition",
    Kind.LOCAL_TRAINING: "training",
    Kind.FEATURE_MAP: "features",
    Kind.SOURCE: "data",
    Kind.GOAL: "goal",
    Kind.SCENARIO: "kind",
}


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    index = ["# Catalogue", "", "Generated from the registry. `antivenom list` and `antivenom show NAME` say the same."]
    for kind in Kind:
        found = entries(kind)
        if found:
            index += [
                "",
                f"## {str(kind).capitalize()}",
                "",
                "| name | what it does | access | goals |",
                "| --- | --- | --- | --- |",
            ]
        for entry in found:
            index.append(
                f"| [{entry.name}]({entry.name}.md) | {entry.about} | {', '.join(entry.access)} | {', '.join(entry.goals)} |"
            )
            (FOLDER / f"{entry.name}.md").write_text(page(entry), encoding="utf-8")
    index += ["", "## Data", "", "| name | what it is | files |", "| --- | --- | --- |"]
    for data in DATASETS.values():
        files = ", ".join(f"`{source.filename}`" for source in data.files) or "none: comes with scikit-learn"
        index.append(f"| `{data.name}` | {data.about} | {files} |")
    (FOLDER / "index.md").write_text("\n".join(index) + "\n", encoding="utf-8")


def page(entry: Entry) -> str:
    """Idea, weakness, fields with units, access level, reference."""
    text = inspect.getdoc(entry.cls) or ""
    idea, _, rest = text.partition("\nFields:")
    described = dict(
        re.findall(r"^    ([\w, ]+): (.*?)(?=\n    [\w, ]+: |\n\S|\n\n|\Z)", rest, re.DOTALL | re.MULTILINE)
    )
    lines = [
        f"# {entry.name}",
        "",
        f"*{str(entry.kind).capitalize()}.* " + re.sub(r"\nReference:.*", "", idea, flags=re.DOTALL).strip(),
    ]
    lines[-1] = lines[-1].replace("Weakness:", "**Weakness:**")
    hints = fields_of(entry.cls)
    if hints:
        lines += ["", "## Fields", "", "| field | type | default | meaning |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(entry.cls):
        meaning = next((m for names, m in described.items() if field.name in re.split(r",\s*", names)), "")
        default = "required" if field.default is dataclasses.MISSING else f"`{label(field.default)}`"
        lines.append(f"| `{field.name}` | `{_type(hints[field.name])}` | {default} | {' '.join(meaning.split())} |")
    for title, words in (("Access", entry.access), ("Goals", entry.goals)):
        if words:
            lines += ["", f"**{title}:** {', '.join(words)}"]
    lines += [
        "",
        f"**Reference:** {linked(entry.cite)}",
        "",
        "## In a scenario file",
        "",
        "```yaml",
        snippet(entry),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _type(hint: Any) -> str:
    return (getattr(hint, "__name__", str(hint)) if not getattr(hint, "__args__", None) else str(hint)).replace(
        "|", "\\|"
    )


def linked(cite: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", cite)


def snippet(entry: Entry) -> str:
    """The line that names the plugin, with its required fields."""
    needs = [f.name for f in dataclasses.fields(entry.cls) if f.default is dataclasses.MISSING]
    wanted = "..." if entry.kind not in {Kind.AGENT, *DEFENCES} else "ExplicitBoosting"
    written = f"{{name: {entry.name}, {', '.join(f'{n}: {wanted}' for n in needs)}}}" if needs else entry.name
    if entry.kind in ATTACKS:
        return f"attacks: [{written}]"
    return f"defences: [{written}]" if entry.kind in DEFENCES else f"{KEY[entry.kind]}: {written}"


if __name__ == "__main__":
    main()
