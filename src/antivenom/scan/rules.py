"""The kinds of findings: one rule for each, which says why it matters and what to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Status(enum.StrEnum):
    """The verdict on a file, from best to worst. A file is accepted if a baseline covers all that was found in it."""

    SAFE = "safe"
    ACCEPTED = "accepted"
    UNKNOWN = "cannot tell"
    UNSAFE = "unsafe"


@dataclass(frozen=True)
class Rule:
    """One kind of finding.

    Fields:
        id: its name in outputs and baselines.
        status: the status of a file that has such a finding, UNSAFE or UNKNOWN.
        why: one sentence on why it matters.
        remedy: one sentence on what to do.
    """

    id: str
    status: Status
    why: str
    remedy: str


_REVIEW = "review the name, then add it to your allow list"
_REVIEW_CALL = "review the name for every argument that a file can choose, then add it to your allow list"
_REFUSE = "do not load the file; ask its sender for safetensors or a state dict"
_REPACK = "do not load the file; ask its sender to write it again with the library that made it"
_INSTALL = "install the parser and scan again; until then treat the file as unsafe"

DANGEROUS_GLOBAL = Rule(
    "pickle-global",
    Status.UNSAFE,
    "loading the file imports this name, which can run code, open files or reach the network, with values of the file",
    _REFUSE,
)
UNREVIEWED_GLOBAL = Rule(
    "pickle-unreviewed",
    Status.UNKNOWN,
    "loading the file imports this name, which nobody has reviewed, or makes an object of it",
    _REVIEW,
)
UNREVIEWED_CALL = Rule(
    "pickle-unreviewed-call",
    Status.UNKNOWN,
    "loading the file calls this name, which nobody has reviewed, with arguments that the file chooses",
    _REVIEW_CALL,
)
COMPUTED_CALL = Rule(
    "pickle-computed-call",
    Status.UNSAFE,
    "the file computes which object it calls while it is loaded, so that a list of names cannot cover it",
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
    "the file calls a name that was reviewed only as a reference that a model keeps, not for calls with any argument",
    _REFUSE,
)
SHADOWED_METHOD = Rule(
    "pickle-shadowed-method",
    Status.UNSAFE,
    "the file sets an attribute under the name of a method that loading calls",
    _REFUSE,
)
ARRAY_TYPE = Rule(
    "pickle-array-type",
    Status.UNSAFE,
    "numpy accepts this inconsistent dtype and then treats bytes of the file, or foreign memory, as objects",
    _REFUSE,
)
EXTENSION = Rule(
    "pickle-extension",
    Status.UNSAFE,
    "a copyreg extension code refers to a global that only the loading process knows",
    _REFUSE,
)
STRADDLING_FRAME = Rule(
    "pickle-frame",
    Status.UNSAFE,
    "a frame ends inside an opcode, and unpicklers disagree on how to continue",
    _REPACK,
)
TRAILING_STREAM = Rule(
    "trailing-data",
    Status.UNSAFE,
    "another loader, or a second load, would read the bytes after the end of the stream",
    _REPACK,
)
MALFORMED = Rule(
    "malformed",
    Status.UNKNOWN,
    "the content violates its format; a loader can act on the part before the error",
    _REPACK,
)
PERSISTENT_ID = Rule(
    "pickle-persistent-id",
    Status.UNKNOWN,
    "the loader's own persistent_load decides which object this is",
    "load it only with the library that wrote it",
)
ARCHIVE_STRUCTURE = Rule(
    "archive-structure",
    Status.UNSAFE,
    "archive readers disagree about such a file, so that one sees content that another does not",
    _REPACK,
)
ENCRYPTED = Rule(
    "encrypted",
    Status.UNSAFE,
    "the scan cannot read encrypted content, but a loader that knows the password can",
    "ask for the file without encryption",
)
PATH_TRAVERSAL = Rule(
    "path-traversal",
    Status.UNSAFE,
    "a path inside the file leads out of the folder in which it is unpacked or loaded",
    _REFUSE,
)
EMBEDDED_CODE = Rule(
    "embedded-code",
    Status.UNSAFE,
    "the file carries code that runs when the model is loaded or used",
    "ask for a model without code, or review the code and accept the finding in a baseline",
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
    "a chat template accesses Python internals when it is rendered",
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
    "part of the model lies in another file, which was not scanned here",
    "scan that file as well",
)
SOURCE_CODE = Rule(
    "source-code",
    Status.UNKNOWN,
    "source code does whatever it says when something imports or runs it, and the scan does not judge code",
    "read the code before you use the model; then accept the finding in a baseline",
)
LOADED_CODE = Rule(
    "loaded-code",
    Status.UNSAFE,
    "a loader imports this source code because of its name, its place or what it defines",
    "ask for a model without code, or review the code and accept the finding in a baseline",
)
CODE_ON_IMPORT = Rule(
    "code-on-import",
    Status.UNSAFE,
    "importing this source code already reaches the network, or runs text or bytes that it has decoded",
    "do not import the code; ask its sender for a model without it",
)
CONFIGURED_CODE = Rule(
    "configured-code",
    Status.UNSAFE,
    "a loader that reads this configuration imports, fetches or runs what it names",
    "remove the setting, or review what it names and accept the finding in a baseline",
)
CONFIGURED_COMMAND = Rule(
    "configured-command",
    Status.UNKNOWN,
    "the configuration contains a command line, which the tool that reads it may run",
    "read the command before you run the tool; then accept the finding in a baseline",
)
EXTERNAL_ENTITY = Rule(
    "external-entity",
    Status.UNSAFE,
    "an XML reader that follows the document's declarations reads other files, reaches the network or exhausts memory",
    "ask for the document without a DOCTYPE, or read it with a parser that refuses entities, such as defusedxml",
)
MISSING_CONTENT = Rule(
    "missing-content",
    Status.UNKNOWN,
    "the file does not hold the content that its name stands for, so nothing could be judged",
    "fetch the content (for a Git LFS pointer: git lfs pull) and scan again",
)
NOT_AS_NAMED = Rule(
    "not-as-named",
    Status.UNKNOWN,
    "the content is of another format than the name promises, and a loader that goes by the name may read it in its own way",
    "find out why the file has this name before you load it",
)
EXECUTABLE = Rule(
    "executable",
    Status.UNSAFE,
    "a model file does not need a program or native library",
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
    "loading imports, and can call, the function of Python or of a loader library that the file names",
    _REFUSE,
)
LIMIT = Rule(
    "limit",
    Status.UNKNOWN,
    "the scan stopped at a limit and did not read the rest",
    "raise the limit if the file is expected to be this large, or refuse it",
)
NO_PARSER = Rule(
    "no-parser",
    Status.UNKNOWN,
    "a library that reads this format is not installed, so that the content was not scanned",
    _INSTALL,
)
UNKNOWN_FORMAT = Rule(
    "unknown-format",
    Status.UNKNOWN,
    "the scan does not know this format and cannot judge the content",
    "find out which format it is before you load it",
)
SCAN_ERROR = Rule(
    "scan-error",
    Status.UNKNOWN,
    "the scan itself failed on this part and cannot judge it",
    "treat the file as unsafe and report the failure",
)

REVIEWABLE = (UNREVIEWED_GLOBAL, UNREVIEWED_CALL, UNTRUSTED_TYPE)  # an entry of an allow list answers their findings
RULES: dict[str, Rule] = {rule.id: rule for rule in list(globals().values()) if isinstance(rule, Rule)}
