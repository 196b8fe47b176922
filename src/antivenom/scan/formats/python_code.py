"""What Python source code does when it is imported, read from its syntax tree without running it.

The reading follows names through imports, `getattr` and `__import__` with literal arguments, and into functions of the
same file that the module itself calls. It is a help for a reviewer, not a proof: code that hides what it does is not
judged harmless, because source code is never judged safe.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from antivenom.scan.limits import Meter

_HINT = re.compile(r"\bimport\b|\bdef\b|\bclass\b|\bexec\b|\beval\b|\w[ \t]*\(")
_NESTED = re.compile(
    r"[(\[{]{60}|(?:-|~|\bnot |\blambda:){200}|(?:\.\w+){400}"
)  # the parser of CPython recurses on these
_NETWORK = re.compile(
    r"(?:urllib\.request|urllib2|urllib3|http\.client|socket|ftplib|smtplib|telnetlib|poplib|imaplib|requests|aiohttp|"
    r"httpx|paramiko|websockets?|pycurl|wget|gdown|boto3|xmlrpc\.client|huggingface_hub|torch\.hub)\..+"
)
_COMMAND = re.compile(
    r"os\.(?:system|popen|exec\w+|spawn\w+|posix_spawnp?|startfile)|posix\.\w+|nt\.\w+|subprocess\.\w+|pty\.spawn|"
    r"commands\.\w+|asyncio\.create_subprocess_\w+"
)
_FETCHING = re.compile(
    r"\b(?:curl|wget|nc|ncat|socat|telnet|ssh|scp|ftp|certutil|powershell|bitsadmin)\b|/dev/tcp/|"
    r"\|\s*(?:ba|z|da)?sh\b|\bpip3?\b.*\binstall\b|\bhttps?://"
)
_RUN = frozenset({"exec", "eval", "builtins.exec", "builtins.eval", "compile", "builtins.compile", "__import__"})
_DECODING = re.compile(
    r"(?:base64|binascii|zlib|bz2|lzma|gzip|codecs|marshal|binascii)\.\w+|bytes\.fromhex|bytearray\.fromhex|chr"
)
_UNPICKLING = re.compile(r"(?:pickle|_pickle|cPickle|dill|cloudpickle|marshal|joblib)\.loads?")
_DEPTH = 6  # functions of the file that call one another


@dataclass
class Reading:
    """What the code does on import.

    Fields:
        reaching: what reaches the network or runs decoded content.
        running: other commands that it runs.
        classes: the names of its classes, each with the last parts of its bases' names.
        functions: the names of its functions.
        called: the dotted names that the module calls anywhere.
    """

    reaching: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)


def may_act(text: str) -> bool:
    """Whether it is worth parsing the text: it has a word or sign that Python code which acts must have."""
    return _HINT.search(text) is not None


def parsed(text: str) -> ast.Module | None:
    """The syntax tree; None if the text is not Python, or nested too deeply for the parser."""
    if _NESTED.search(text):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.lstrip("\ufeff"))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def acts(tree: ast.Module) -> bool:
    """Whether the text is code: it imports, defines or calls something. A list of words also parses as Python."""
    return any(_acts(statement) for statement in tree.body)


def _acts(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return True
    if isinstance(statement, (ast.For, ast.While, ast.With, ast.Try, ast.If, ast.Delete, ast.Raise, ast.Assert)):
        return True
    value = getattr(statement, "value", None)
    return value is not None and any(isinstance(node, ast.Call) for node in ast.walk(value))


def read(tree: ast.Module, meter: Meter) -> Reading:
    """What the code does on import, and what it defines."""
    found, names = Reading(), dict[str, str]()
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for node in ast.walk(tree):
        meter.spend("opcodes", 1)
        if isinstance(node, ast.Import):
            names.update({each.asname or each.name.partition(".")[0]: _bound(each) for each in node.names})
        elif isinstance(node, ast.ImportFrom):
            names.update({each.asname or each.name: f"{node.module or ''}.{each.name}" for each in node.names})
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            functions.setdefault(node.name, node)
        elif isinstance(node, ast.ClassDef):
            found.classes[node.name] = tuple(_dotted(base, {}).rpartition(".")[2] for base in node.bases)
    found.functions = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = _dotted(node.value, names)
            if "." in value:
                names.setdefault(node.targets[0].id, value)
        if isinstance(node, ast.Call):
            found.called.add(_dotted(node.func, names))
    entered: set[str] = set()
    waiting = deque((each, 0) for each in _executed(tree.body))
    while waiting:
        call, depth = waiting.popleft()
        name = _dotted(call.func, names)
        _judge(found, call, name, names)
        if name in functions and name not in entered and depth < _DEPTH:
            entered.add(name)
            waiting += [(each, depth + 1) for each in _executed(functions[name].body)]
    return found


def _bound(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.partition(".")[0]


def _executed(body: list[ast.stmt]) -> Iterator[ast.Call]:
    """The calls that a body makes when it is executed: not those inside functions that it only defines."""
    waiting: deque[ast.AST] = deque(body)
    while waiting:
        node = waiting.popleft()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting += [*node.decorator_list, *node.args.defaults, *(each for each in node.args.kw_defaults if each)]
        elif isinstance(node, ast.Lambda) or (isinstance(node, ast.If) and _is_main(node.test)):
            waiting += node.orelse if isinstance(node, ast.If) else [node.body]
        else:
            if isinstance(node, ast.Call):
                yield node
            waiting += ast.iter_child_nodes(node)


def _is_main(test: ast.expr) -> bool:
    """Whether a condition is `__name__ == "__main__"`, which does not hold on import."""
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _judge(found: Reading, call: ast.Call, name: str, names: dict[str, str]) -> None:
    inner = {_dotted(node.func, names) for each in call.args for node in ast.walk(each) if isinstance(node, ast.Call)}
    if _NETWORK.fullmatch(name):
        found.reaching.append(f"calls {name}")
    elif _UNPICKLING.fullmatch(name):
        found.reaching.append(f"calls {name}, which runs what it reads")
    elif name in _RUN and any(_DECODING.fullmatch(each) or _NETWORK.fullmatch(each) for each in inner):
        found.reaching.append(f"runs decoded text by {name}")
    elif _COMMAND.fullmatch(name):
        words = " ".join(_words(call))
        if _FETCHING.search(words) or any(_DECODING.fullmatch(each) for each in inner):
            found.reaching.append(f"runs a command that reaches the network or is encoded, by {name}")
        else:
            found.running.append(f"runs a command by {name}")
    elif name in _RUN:
        found.running.append(f"calls {name}")


def _words(call: ast.Call) -> Iterator[str]:
    for argument in (*call.args, *(each.value for each in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
                yield node.value if isinstance(node.value, str) else node.value.decode("utf-8", "replace")


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """The dotted name that an expression stands for, as far as literals tell; otherwise empty."""
    match node:
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.Attribute(value=owner, attr=attribute):
            inner = _dotted(owner, names)
            return f"{inner}.{attribute}" if inner else ""
        case ast.Call(func=ast.Name(id="__import__"), args=[ast.Constant(value=str(module)), *_]):
            return module
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(attribute)), *_]):
            inner = _dotted(owner, names)
            return f"{inner}.{attribute}" if inner else ""
        case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]):
            return module if _dotted(function, names) == "importlib.import_module" else ""
        case ast.Await(value=inner_node) | ast.Subscript(value=inner_node):
            return _dotted(inner_node, names)
    return ""


def loader_of(tree: ast.Module, reading: Reading, path: PurePosixPath) -> str:
    """The loader that imports or executes such a file by convention; empty if none is known."""
    bases = {base for each in reading.classes.values() for base in each}
    name, functions, folders = path.name, reading.functions, set(path.parts[:-1])
    for applies, loader in (
        (name == "handler.py" and "EndpointHandler" in reading.classes, "an inference endpoint of Hugging Face"),
        ("TritonPythonModel" in reading.classes, "Triton's Python backend"),
        (bool({"BaseHandler", "VisionHandler", "TextHandler"} & bases), "TorchServe"),
        (name.endswith("handler.py") and "handle" in functions, "TorchServe"),
        (bool({"GeneratorBasedBuilder", "ArrowBasedBuilder", "BeamBasedBuilder"} & bases), "datasets.load_dataset"),
        ("custom_generate" in folders, "transformers' generate(custom_generate=...)"),
        (_is_kernel(path), "the kernels library"),
        (name == "pipeline.py" and any("Pipeline" in base for base in bases), "diffusers' custom_pipeline"),
        (name == "hubconf.py", "torch.hub.load"),
        (name in ("sitecustomize.py", "usercustomize.py"), "Python at every start"),
        (name == "conftest.py", "pytest"),
        (path.suffix == ".pth", "Python at every start, in a folder of packages,"),
        (any(each.endswith("models.set_model") for each in reading.called), "MLflow (models from code)"),
        (name == "inference.py" and bool({"model_fn", "predict_fn", "transform_fn"} & functions), "SageMaker"),
        (bool({"BasePredictor"} & bases), "Cog"),
        (any(each in ("bentoml.service", "bentoml.Service") for each in reading.called), "BentoML"),
        (_is_configuration(tree), "mmengine.Config.fromfile"),
    ):
        if applies:
            return loader
    return ""


def _is_kernel(path: PurePosixPath) -> bool:
    return any(
        part == "torch-ext" or (part == "build" and following.startswith("torch"))
        for part, following in zip(path.parts, path.parts[1:], strict=False)
    )


def _is_configuration(tree: ast.Module) -> bool:
    """Whether the module is a configuration of mmengine, which executes it: `_base_`, `read_base`, or `type` in dicts."""
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="_base_" | "custom_imports" | "default_scope")]):
                return True
            case ast.With(items=[ast.withitem(context_expr=ast.Call(func=ast.Name(id="read_base")))]):
                return True
            case ast.Assign(targets=[ast.Name(id="model")], value=ast.Call(func=ast.Name(id="dict"), keywords=given)):
                return any(each.arg == "type" for each in given)
            case ast.Assign(targets=[ast.Name(id="model")], value=ast.Dict(keys=keys)):
                return any(isinstance(each, ast.Constant) and each.value == "type" for each in keys)
    return False
