"""What a configuration makes its loader import, fetch or run. Each finding says which loader would do what.

The keys are those that loaders read; the values decide. A name is judged like the names in other files: unsafe if it is of
the standard library or a function that imports, loads or runs what it is given, and otherwise "cannot tell".
"""

from __future__ import annotations

import ast
import base64
import re
from collections.abc import Iterator

from antivenom.scan.findings import Finding
from antivenom.scan.formats import names
from antivenom.scan.part import Part
from antivenom.scan.rules import CONFIGURED_CODE, CONFIGURED_COMMAND, IMPORTED_NAME, MALFORMED, REMOTE_CODE
from antivenom.scan.view import View

# Keys whose value is a name that the loader imports, and calls in most cases.
_IMPORTING = {
    "_target_": "Hydra",
    "__target__": "Hydra",
    "class_path": "LightningCLI (jsonargparse)",
    "_class_path": "a loader of components",
    "_class_": "a loader of components",
    "_cls_": "a loader of components",
    "__class__": "a loader of components",
    "import_path": "a loader of components",
    "object_class": "a loader of components",
    "callable": "a loader of components",
    "factory": "a loader of components",
    "entry_point": "a loader of plugins",
    "()": "logging.config.dictConfig",
    "_component_": "torchtune",
    "class": "a loader of components",
    "cls": "a loader of components",
    "class_name": "a loader of components",
    "model_class": "a loader of components",
    "runner_class": "a loader of components",
    "dataset_class": "a loader of components",
    "py/object": "jsonpickle",
    "py/type": "jsonpickle",
    "py/function": "jsonpickle",
    "py/class": "jsonpickle",
    "py/mod": "jsonpickle",
}
_TYPED = frozenset(
    {"init_parameters", "init_args", "params", "kwargs", "filepath", "load_args", "save_args", "arguments"}
)
_ACTIVATION = re.compile(r".*(?:activation|act_fn|hidden_act|nonlinearity|act_layer).*")
_ATTENTION = re.compile(r"_?(?:attn|attention|experts)_implementation(?:_internal|_autoset)?")
# Switches that make a loader run code of the repository, or read pickles: key -> (value that is dangerous, loader).
_SWITCHES = {
    "trust_remote_code": (True, "transformers and datasets run Python files of the repository"),
    "trustremotecode": (True, "a loader runs Python files of the repository"),
    "use_kernels": (True, "transformers fetches kernels from the Hub and runs them"),
    "allow_pickle": (True, "a loader reads pickles"),
    "allow_dangerous_deserialization": (True, "LangChain reads pickles"),
    "allow_unsafe": (True, "a loader reads pickles"),
    "unsafe_deserialization": (True, "a loader reads pickles"),
    "enable_unsafe_deserialization": (True, "Keras runs code of the file"),
    "weights_only": (False, "torch.load reads pickles"),
    "safe_mode": (False, "Keras runs code of the file"),
}
_REMOTE = {  # keys whose value, if there is any, names code that is fetched or that lies in the repository
    "custom_generate": "transformers fetches and runs this generation code",
    "hub_kernels": "transformers fetches these kernels from the Hub and runs them",
    "kernel_config": "transformers fetches these kernels from the Hub and runs them",
    "model_code_path": "MLflow runs this file (models from code)",
    "custom_imports": "mmengine imports these modules",
    "py/reduce": "jsonpickle calls what it names",
    "py/repr": "jsonpickle evaluates it as Python",
    "py/newargsex": "jsonpickle calls what it names",
    "custom_op_library": "ONNX Runtime loads this native library",
    "custom_ops_library": "ONNX Runtime loads this native library",
    "custom_op_libraries": "ONNX Runtime loads these native libraries",
    "op_library_filename": "Triton loads this native library",
    "include_package": "AllenNLP imports this package",
    "backend_path": "pip imports this build backend of the source tree",
    "preinstall": "npm runs this command on installation",
    "postinstall": "npm runs this command on installation",
}
_COMMANDS = frozenset(
    {"cmd", "command", "commands", "entrypoint", "args_command", "run", "script", "setup", "entry", "program"}
)
_RUNNING = (  # siblings of a command, with which the tool that runs it can be told
    ({"deps"}, "dvc repro"),
    ({"outs"}, "dvc repro"),
    ({"metrics"}, "dvc repro"),
    ({"parameters"}, "mlflow run"),
    ({"image"}, "docker compose"),
    ({"uses"}, "a workflow"),
    ({"language"}, "pre-commit"),
)
_NATIVE = re.compile(r"[^\s<>|]*\w\.(?:so(?:\.\d+)*|dll|dylib|pyd)")
_SHELL = re.compile(
    r"[;&|`<>]|\$\(|^\s*(?:\S*/)?(?:python\d?|bash|sh|curl|wget|pip|make|touch|rm|cp|mv|git|docker|torchrun)\b"
)
_CODE_KEY = re.compile(
    r".*(?:code|module|handler|plugin|entry|hook|predict|service|import|custom|loader|pipeline|class).*"
)
_FILE = re.compile(r"[\w./\\ -]*\w\.(?:py|pyc|sh|ipynb)(?:::?\w+)?")
_NAME = re.compile(r"[^\W\d]\w*(?:[.:][^\W\d]\w*)+")
_RESOLVERS = re.compile(r"\$\{\s*(?:eval|py|python|exec|import|call|lambda|cmd|shell|sh|get_method|get_class)\w*\s*:")
# Functions that run, import or load what they are given: under any key, no configuration needs to name them.
_DANGEROUS = re.compile(
    r"(?:os|posix|nt)\.(?:system|popen|exec\w*|spawn\w*|posix_spawnp?|startfile|remove|unlink|rmdir|removedirs|rename|kill)|"
    r"subprocess\.(?:Popen|run|call|check_call|check_output|getoutput|getstatusoutput)|"
    r"(?:builtins|__builtin__|__builtins__)\.(?:eval|exec|execfile|compile|open|__import__|getattr|setattr|input|breakpoint)|importlib\.(?:import_module|reload|__import__)|runpy\.run_\w+|pty\.spawn|"
    r"(?:_|c)?pickle\.(?:loads?|Unpickler)|(?:marshal|dill|cloudpickle)\.loads?|shutil\.(?:rmtree|move)|"
    r"ctypes\.(?:CDLL|cdll\.\w+)|socket\.(?:socket|create_connection)|webbrowser\.open|urllib\.request\.\w+|"
    r"pip\.main|code\.interact|torch\.(?:load|hub\.load\w*|ops\.load_library)|joblib\.load|pandas\.read_pickle"
)
_HINT = re.compile(
    r"__\w+__|\b(?:eval|exec|compile|getattr|open)\s*\(|\b(?:os|posix|subprocess|shutil|socket|importlib|runpy|ctypes|pickle)\s*\."
)
_LONGEST_EXPRESSION = 4096
# Documents without any of these, and without escapes that could hide them, need no look at their single texts.
_MARKS = (
    "__",
    "\\u00",
    "${",
    ".so",
    ".dll",
    ".dylib",
    ".pyd",
    "os.",
    "posix.",
    "nt.",
    "subprocess.",
    "builtins.",
    "importlib.",
    "runpy.",
    "pty.",
    "pickle.",
    "marshal.",
    "dill.",
    "shutil.",
    "ctypes.",
    "socket.",
    "webbrowser.",
    "request.",
    "pip.",
    "code.",
    "torch.",
    "joblib.",
    "pandas.",
    "os:",
    "posix:",
    "nt:",
    "runpy:",
    "pty:",
    "shutil:",
    "torch:",
    "joblib:",
    "pandas:",
    "socket:",
    "pip:",
    "code:",
    "subprocess:",
    "builtins:",
    "pickle:",
    "importlib:",
)
_CALL = re.compile(r"(?:eval|exec|compile|getattr|open)\s*\(")


def are_texts_worth_reading(text: str) -> bool:
    """Whether some value of a long document could break a rule of `check_text`."""
    return any(mark in text for mark in _MARKS) or ("(" in text and _CALL.search(text) is not None)


def check_object(part: Part, value: dict[str, object], root: dict[str, object] | None = None) -> Iterator[Finding]:
    """The findings in one object: keys that a loader acts upon, with values that matter."""
    for given, each in value.items():
        if type(each) is int and each > 1:
            continue  # a vocabulary has a hundred thousand such entries, and no loader acts upon them
        key = given.lower().replace("-", "_")
        if given in _IMPORTING and isinstance(each, str) and not ("__loader__" in value or _is_keras(value)):
            yield from imported(part, f"{_IMPORTING[given]} ({given})", _resolved(each, root))
        if given in ("type", "target") and isinstance(each, str) and value.keys() & _TYPED and not _is_keras(value):
            yield from imported(part, f"a loader of components ({given})", _resolved(each, root))
        if key in _SWITCHES and _is_set(each) is _SWITCHES[key][0]:
            rule = REMOTE_CODE if "remote" in key or "kernels" in key else CONFIGURED_CODE
            yield part.finding(rule, f"{given} is {each}: {_SWITCHES[key][1]}", name=given)
        if key in _REMOTE and each:
            fetched = key in ("custom_generate", "hub_kernels", "kernel_config", "model_code_path")
            said = f"{given} names {each}: {_REMOTE[key]}"
            yield part.finding(REMOTE_CODE if fetched else CONFIGURED_CODE, said, name=given)
        if _ATTENTION.fullmatch(key) or _ACTIVATION.fullmatch(key):
            yield from _implementation(part, given, each)
        if key in _COMMANDS:
            yield from _command(part, key, each, value)
        if isinstance(each, str) and _FILE.fullmatch(each) and _CODE_KEY.fullmatch(key):
            yield part.finding(CONFIGURED_CODE, f"{given} names {each}, which the loader imports", name=given)
    yield from _mlflow(part, value)
    if isinstance(pickled := value.get(":serialized:"), str):
        yield from _serialized(part, pickled)
    if value.get("lc") == 1 and value.get("type") == "constructor" and isinstance(value.get("id"), list):
        identity: object = value["id"]
        yield from imported(part, "LangChain (id)", ".".join(map(str, identity if isinstance(identity, list) else [])))


def check_text(part: Part, key: str, text: str) -> Iterator[Finding]:
    """The findings in one value that is text: a dangerous name, an expression, a native library, a resolver."""
    bare = text.strip()
    if _DANGEROUS.fullmatch(bare.replace(":", ".")) and not (key == "target" and bare.startswith("torch.")):
        yield part.finding(IMPORTED_NAME, f"{key or 'an item'} names {bare}", name=bare)
    elif len(bare) < 400 and _NATIVE.fullmatch(bare):
        yield part.finding(CONFIGURED_CODE, f"{key or 'an item'} names the native library {bare}", name=bare)
    elif "${" in bare and _RESOLVERS.search(bare):
        yield part.finding(CONFIGURED_CODE, f"{key or 'an item'} has OmegaConf call a function: {bare}", name=key)
    elif (
        key != "expr_str"
        and "(" in bare
        and len(bare) <= _LONGEST_EXPRESSION
        and _HINT.search(bare)
        and _is_expression(bare)
    ):
        yield part.finding(CONFIGURED_CODE, f"{key or 'an item'} is a Python expression: {bare}", name=key or bare[:80])


def imported(part: Part, loader: str, text: str) -> Iterator[Finding]:
    """The finding that a loader imports a name; none if the allow list has it, or if it is no dotted name."""
    text = text.strip()
    if "${" in text or "{{" in text:
        yield part.finding(CONFIGURED_CODE, f"{loader} imports a name that the file computes: {text}", name=text)
    elif _FILE.fullmatch(text):
        yield part.finding(CONFIGURED_CODE, f"{loader} imports the file {text}", name=text)
    elif _NAME.fullmatch(text):
        dotted = text.replace(":", ".")
        module, _, name = dotted.rpartition(".")
        if (rule := names.broken_rule(part, module, name)) is not None:
            yield part.finding(rule, f"asks the loader to call {dotted}: {loader}", name=dotted)


def _is_keras(value: dict[str, object]) -> bool:
    return "class_name" in value and ("config" in value or "module" in value)


def _is_set(value: object) -> bool | None:
    """What a switch is set to; None if it is neither on nor off."""
    if isinstance(value, str):
        return {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False}.get(
            value.strip().lower()
        )
    return bool(value) if isinstance(value, (bool, int)) else None


def _resolved(text: str, root: dict[str, object] | None) -> str:
    """The text with references of OmegaConf to other texts of the document replaced, once."""

    def of(match: re.Match[str]) -> str:
        here: object = root
        for key in match[1].strip().split("."):
            here = here.get(key) if isinstance(here, dict) else None
        return here if isinstance(here, str) else match[0]

    return re.sub(r"\$\{([\w. ]+)\}", of, text) if "${" in text else text


def _implementation(part: Part, key: str, value: object) -> Iterator[Finding]:
    """Findings for an attention, an expert layer or an activation that is a repository or an imported name."""
    for text in value.values() if isinstance(value, dict) else [value]:
        if not isinstance(text, str):
            continue
        if "/" in text:
            yield part.finding(REMOTE_CODE, f"{key} is {text}: transformers fetches this kernel and runs it", name=key)
        elif _NAME.fullmatch(text.strip()):
            yield from imported(part, f"sentence-transformers and others ({key})", text)


def _serialized(part: Part, text: str) -> Iterator[Finding]:
    """The findings in a pickle that Stable-Baselines3 writes as Base64 into JSON and loads from there."""
    try:
        data = base64.b64decode(text)
    except ValueError:
        yield part.finding(MALFORMED, "a serialized object that is not Base64", name=":serialized:")
        return
    part.meter.spend("unpacked", len(data))
    yield from part.descend(View(data), ":serialized:")


def _mlflow(part: Part, value: dict[str, object]) -> Iterator[Finding]:
    module = value.get("loader_module")
    if isinstance(module, str):
        if not module.strip().startswith("mlflow."):
            yield part.finding(REMOTE_CODE, f"the loader is {module}", name=module)
        if isinstance(value.get("code"), str):
            yield part.finding(REMOTE_CODE, f"MLflow imports code from the folder {value['code']}", name="code")


def _command(part: Part, key: str, value: object, around: dict[str, object]) -> Iterator[Finding]:
    lines = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str) and each.strip()]
    text = " ".join(lines)
    if not lines:
        return
    for siblings, tool in _RUNNING:
        if siblings <= around.keys() and key in ("cmd", "command", "entrypoint", "entry", "run"):
            yield part.finding(CONFIGURED_CODE, f"{tool} runs {text}", name=key)
            return
    if key in ("cmd", "command") and len(around) == 1:  # a stage of DVC or an entry point of MLproject without more
        yield part.finding(CONFIGURED_CODE, f"dvc repro or mlflow run runs {text}", name=key)
    elif _SHELL.search(text) or (key in ("cmd", "command", "commands") and " " in text):
        yield part.finding(CONFIGURED_COMMAND, f"a command line: {text}", name=key)


def _is_expression(text: str) -> bool:
    if re.search(r"[(\[{]{40}", text):
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return any(isinstance(node, ast.Call) for node in ast.walk(tree))
