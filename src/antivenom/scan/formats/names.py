"""Names that a file other than a pickle asks its loader to import."""

from __future__ import annotations

from antivenom.scan.allow import standard_modules
from antivenom.scan.part import Part
from antivenom.scan.rules import IMPORTED_NAME, UNTRUSTED_TYPE, Rule
from antivenom.scan.stubs import Global

# Functions that import or download the object that their arguments name. They are refused in every module.
_REACHING = frozenset(
    [
        "get_file",
        "load_model",
        "load_weights",
        "model_from_json",
        "model_from_config",
        "model_from_yaml",
        "save_model",
        "save_weights",
        "load_img",
        "save_img",
        "enable_unsafe_deserialization",
        "deserialize_keras_object",
        "func_load",
        "get_method",
        "get_class",
        "get_object",
        "import_module",
        "locate",
        "load_class",
        "load",
        "loads",
        "read_pickle",
        "load_state_dict_from_url",
        "load_library",
        "urlretrieve",
        "Popen",
        "check_call",
        "check_output",
        "run_command",
        "run_shell",
        "system",
        "popen",
        "eval",
        "exec",
        "compile",
        "open",
        "getattr",
        "setattr",
    ]
)


def broken_rule(part: Part, module: str, name: str) -> Rule | None:
    """The rule that an import of `module.name` breaks; None if the allow list has the name."""
    if part.allow.broken_rule(Global(module, name)) is None:
        return None
    own = module.partition(".")[0] in standard_modules()
    return IMPORTED_NAME if own or name.rpartition(".")[2] in _REACHING else UNTRUSTED_TYPE
