"""What a scan can find: one rule per kind of finding, with why it matters and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.StrEnum):
    """What is known of a file, best first."""

    SAFE = "safe"
    UNKNOWN = "cannot tell"
    UNSAFE = "unsafe"


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    Fields:
        id: its name in every output and in baselines.
        status: what one such finding makes of the file, UNSAFE or UNKNOWN.
        why: why it matters, one sentence.
        remedy: what to do, one sentence.
    """

    id: str
    status: Status
    why: str
    remedy: str


_REVIEW = "review the global; if it is harmless for every argument, add it to an allow list with a note"
_REFUSE = "do not load the file; ask its sender for safetensors or a state dict"
_REPACK = "do not load the file; have it written anew by the library that made it"
_INSTALL = "install the parser and scan again; until then treat the file as unsafe"

UNLISTED_GLOBAL = Rule(
    "pickle-global",
    Status.UNSAFE,
    "loading the file imports this name and can call it with arguments the file chooses",
    _REFUSE,
)
UNREVIEWED_GLOBAL = Rule(
    "pickle-unreviewed",
    Status.UNKNOWN,
    "loading the file imports this name, which nobody has reviewed",
    _REVIEW,
)
COMPUTED_CALL = Rule(
    "pickle-computed-call",
    Status.UNSAFE,
    "what is called was computed while loading, so no list of names covers it",
    _REFUSE,
)
PATCHED_GLOBAL = Rule(
    "pickle-patched-global",
    Status.UNSAFE,
    "loading the file changes an imported module, class or function for the whole process",
    _REFUSE,
)
CALLED_REFERENCE = Rule(
    "pickle-called-reference",
    Status.UNSAFE,
    "the file calls a name that was reviewed for being kept in a model, not for being called with any argument",
    _REFUSE,
)
SHADOWED_METHOD = Rule(
    "pickle-shadowed-method",
    Status.UNSAFE,
    "the file gives an object an attribute by the name of a method that loading calls itself",
    _REFUSE,
)
ARRAY_TYPE = Rule(
    "pickle-array-type",
    Status.UNSAFE,
    "numpy believes a type that contradicts itself, and then takes bytes of the file, or foreign memory, for objects",
    _REFUSE,
)
EXTENSION = Rule(
    "pickle-extension",
    Status.UNSAFE,
    "a copyreg extension code stands for a global that only the loading process knows",
    _REFUSE,
)
STRADDLING_FRAME = Rule(
    "pickle-frame",
    Status.UNSAFE,
    "a frame ends inside an opcode, where unpicklers disagree about what comes next",
    _REPACK,
)
TRAILING_STREAM = Rule(
    "trailing-data",
    Status.UNSAFE,
    "bytes after the end of the stream: another loader, or a second load, would read them",
    _REPACK,
)
MALFORMED = Rule(
    "malformed",
    Status.UNKNOWN,
    "the content breaks the rules of its format; a loader may have acted on the part before the break",
    _REPACK,
)
PERSISTENT_ID = Rule(
    "pickle-persistent-id",
    Status.UNKNOWN,
    "the loader's own persistent_load decides what this stands for",
    "load it only with the library that wrote it",
)
ARCHIVE_STRUCTURE = Rule(
    "archive-structure",
    Status.UNSAFE,
    "archive readers disagree about such a file, so that one sees content which another does not",
    _REPACK,
)
ENCRYPTED = Rule(
    "encrypted",
    Status.UNSAFE,
    "content that cannot be read here can be read by a loader that knows the password",
    "ask for the file without encryption",
)
PATH_TRAVERSAL = Rule(
    "path-traversal",
    Status.UNSAFE,
    "a path inside the file leads out of the folder it is unpacked or loaded in",
    _REFUSE,
)
EMBEDDED_CODE = Rule(
    "embedded-code",
    Status.UNSAFE,
    "the file carries code that runs when the model is loaded or used",
    "ask for a model without it, or review the code and accept the finding in a baseline",
)
REMOTE_CODE = Rule(
    "remote-code",
    Status.UNSAFE,
    "the repository asks the loader to run its own Python files (trust_remote_code)",
    "load without trust_remote_code, or review the files and accept the finding in a baseline",
)
TEMPLATE = Rule(
    "template",
    Status.UNSAFE,
    "a chat template reaches for Python internals when it is rendered",
    "render only in a sandboxed environment, or replace the template",
)
UNSAFE_OPERATION = Rule(
    "graph-operation",
    Status.UNSAFE,
    "a graph operation reads or writes files, or runs code, when the model is used",
    "ask for a graph without it",
)
CUSTOM_OPERATION = Rule(
    "custom-operation",
    Status.UNKNOWN,
    "the graph needs an operation from outside the standard, whose code is not in the file",
    "review the library that provides it",
)
EXTERNAL_DATA = Rule(
    "external-data",
    Status.UNKNOWN,
    "part of the model lies in another file, which was not looked at here",
    "scan that file as well",
)
EXECUTABLE = Rule(
    "executable",
    Status.UNSAFE,
    "a program or native library inside a model file",
    "do not load or run it",
)
UNTRUSTED_TYPE = Rule(
    "untrusted-type",
    Status.UNKNOWN,
    "the loader will construct this type, which nobody has reviewed",
    _REVIEW,
)
IMPORTED_NAME = Rule(
    "imported-name",
    Status.UNSAFE,
    "the file names a function of Python itself or of a loader, which is imported and can be called while loading",
    _REFUSE,
)
LIMIT = Rule(
    "limit",
    Status.UNKNOWN,
    "the scan stopped at a limit; what lies beyond was not looked at",
    "raise the limit if the file is meant to be this large, or refuse it",
)
NO_PARSER = Rule(
    "no-parser",
    Status.UNKNOWN,
    "a library that reads this format is missing, so the file was not looked into",
    _INSTALL,
)
UNKNOWN_FORMAT = Rule(
    "unknown-format",
    Status.UNKNOWN,
    "the content is of no format known here, so nothing can be said of it",
    "find out what it is before anything loads it",
)
SCAN_ERROR = Rule(
    "scan-error",
    Status.UNKNOWN,
    "the scan itself failed on this part, so nothing can be said of it",
    "treat the file as unsafe and report the failure",
)

RULES: dict[str, Rule] = {rule.id: rule for rule in list(globals().values()) if isinstance(rule, Rule)}
