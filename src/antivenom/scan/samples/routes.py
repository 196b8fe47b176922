"""Every route from an opcode to a call, and the ways in which a stream can hide the call."""

from __future__ import annotations

import pickle
import struct

from antivenom.scan.samples.assembly import (
    Op,
    Sample,
    call,
    code,
    line,
    named,
    old_payload,
    payload,
    pickled,
    put,
    sample,
)

_PEP = "PEP 307, PEP 3154: pickle opcodes"
_MEMO = "picklescan issue 66 and spec: approximated memo"


class _Reduced:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return eval, (code(self.marker),)


def _protocol(number: int) -> Sample:
    return sample(
        f"route/protocol-{number}", lambda m: pickle.dumps(_Reduced(m), number), "pickle documentation: __reduce__"
    )


def _frame(marker: str) -> bytes:
    body = payload(marker) + b"."
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def _straddling(marker: str) -> bytes:
    """A frame ends inside a text of 20 bytes.

    The C unpickler, reading an unbuffered file, drops the ten bytes inside the frame and takes twenty behind it. So it
    does not see the STOP that a reader of plain opcodes sees.
    """
    frame = b"X" + struct.pack("<I", 20) + b"a" * 10
    return (
        b"\x80\x04\x95"
        + struct.pack("<Q", len(frame))
        + frame
        + b"b" * 10
        + b"."
        + b"c" * 9
        + b"0"
        + payload(marker)
        + b"."
    )


def _newobj(marker: str, names: bytes, opcode: bytes) -> bytes:
    """Types alone suffice: creating a tuple from a map calls the mapped function."""
    mapped = named("builtins:map") + put((named("os:mkdir"), [marker])) + names + opcode
    return b"\x80\x04" + named("builtins:tuple") + put((Op(mapped),)) + names + opcode + b"."


def _newobj_of_instance(marker: str) -> bytes:
    state = {"mkdir": named("os:mkdir"), "__new__": call("operator:methodcaller", "mkdir", marker)}
    return b"\x80\x04" + named("types:SimpleNamespace") + b")R" + put(state) + b"b)\x81."


def _slots(marker: str) -> bytes:
    """BUILD with a slot state calls setattr on a class. Here it replaces the function that is called later."""
    patch = named("collections:Counter") + put((None, {"update": named("os:mkdir")})) + b"b0"
    return b"\x80\x04" + patch + call("collections:Counter.update", marker) + b"."


def _setstate(marker: str) -> bytes:
    """BUILD sets __setstate__ as an attribute of an object, and the next BUILD calls it."""
    simple = named("types:SimpleNamespace") + b")R" + put({"__setstate__": named("os:mkdir")}) + b"b"
    return b"\x80\x04" + simple + put(marker) + b"b."


SAMPLES: tuple[Sample, ...] = (
    *map(_protocol, range(6)),
    sample("route/global", lambda m: b"cos\nmkdir\n(" + put(m) + b"tR.", _PEP),
    sample("route/stack-global", lambda m: pickled(payload(m)), _PEP),
    sample("route/inst", lambda m: b"(" + put(m) + b"ios\nmkdir\n.", _PEP),
    sample("route/obj", lambda m: b"(" + line("os:mkdir") + put(m) + b"o.", _PEP),
    sample("route/newobj", lambda m: _newobj(m, b"", b"\x81"), _PEP),
    sample("route/newobj-ex", lambda m: _newobj(m, b"}", b"\x92"), _PEP),
    sample("route/newobj-of-instance", _newobj_of_instance, "Lib/pickle.py: load_newobj looks __new__ up on any object", loader="pickle.py"),
    sample("route/build-setstate", _setstate, "Lib/pickle.py: load_build calls __setstate__"),
    sample("route/build-on-class", _slots, "spec: attribute patching with listed globals only (BUILD on a class)"),
    sample("route/build-on-listed-class", lambda m: b"\x80\x04" + named("collections:Counter") + put((None, {"antivenom": 1})) + b"b.", "spec: attribute patching with listed globals only", fires="no call: it sets an attribute of a class"),
    sample(
        "route/build-dict-of-function",
        lambda m: b"\x80\x04" + named("collections:namedtuple") + put({"__wrapped__": payload(m)}) + b"b.",
        "spec: BUILD on a global",
    ),
    sample("route/extension", lambda m: b"\x80\x02\x82\xf0(" + put(m) + b"tR.", "PEP 307: EXT1", fires="an unregistered extension code"),
    sample("route/extension-added", lambda m: b"\x80\x04" + call("copyreg:add_extension", "os", "mkdir", 241) + b"0\x82\xf1(" + put(m) + b"tR.", "PEP 307: EXT1, with a code that the stream registers itself"),
    sample("route/extension-4", lambda m: b"\x80\x02\x84\xf0\0\0\0(" + put(m) + b"tR.", "PEP 307: EXT4", fires="an unregistered extension code"),
    sample("route/persistent-id", lambda m: b"(" + payload(m) + b"0Pid\n.", "pickle documentation: persistent_load"),
    sample("route/setitem-of-class", lambda m: b"\x80\x04" + named("os:environ") + put("ANTIVENOM") + payload(m) + b"0" + put("1") + b"s.", "spec: SETITEM on a global"),
    sample("memo/put-get", lambda m: b"cos\nmkdir\nq\x07" + b"0N0h\x07(" + put(m) + b"tR.", _MEMO),
    sample("memo/names-swapped", lambda m: b"\x80\x04" + put("os") + b"q\x00" + put("mkdir") + b"q\x01" + b"00" + put("math") + put("floor") + b"00h\x00h\x01\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/overwritten", lambda m: b"\x80\x04" + put("math") + b"q\x00" + put("os") + b"q\x00" + put("mkdir") + b"0" + b"h\x00" + put("mkdir") + b"\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/memoize-counts", lambda m: b"\x80\x04" + put("math") + b"r\x05\0\0\0" + put("mkdir") + b"\x94" + put("os") + b"\x94" + b"h\x02h\x01\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/dup", lambda m: b"\x80\x04" + named("os:mkdir") + b"2" + put((m,)) + b"R.", _MEMO),
    sample("memo/dup-name", lambda m: b"\x80\x04" + put("os") + b"2" + put("floor") + b"0" + put("mkdir") + b"\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/pop-between", lambda m: b"\x80\x04" + put("os") + put("math") + b"0" + put("mkdir") + put("floor") + b"0\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/pop-mark", lambda m: b"\x80\x04" + put("os") + b"(" + put("math") + put("floor") + b"1" + put("mkdir") + b"\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/pop-removes-mark", lambda m: b"\x80\x04" + put("os") + b"(0" + put("mkdir") + b"\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/get-line", lambda m: put("os") + b"p12\n0\x80\x04g12\n" + put("mkdir") + b"\x93" + put((m,)) + b"R.", _MEMO),
    sample("memo/tuple-apart", lambda m: b"\x80\x04(" + put("os") + b"q\x001(h\x00" + put("mkdir") + b"\x93" + put((m,)) + b"Rt.", _MEMO),
    sample("result/popped", lambda m: b"\x80\x04" + payload(m) + b"0" + put({"weights": [1, 2, 3]}) + b".", "spec: popped call results"),
    sample("result/popped-with-mark", lambda m: b"\x80\x04(" + payload(m) + b"1}.", "spec: popped call results"),
    sample("result/as-key", lambda m: b"\x80\x04}" + payload(m) + b"Ns.", "spec: popped call results"),
    sample("result/benign-top", lambda m: b"\x80\x04" + payload(m) + b"0ccollections\nOrderedDict\n)R.", "spec: popped call results"),
    sample("name/py2-builtin", lambda m: b"c__builtin__\neval\n(" + put(code(m)) + b"tR.", "_compat_pickle: names of Python 2"),
    sample("name/py2-commands", lambda m: b"\x80\x02ccommands\ngetoutput\n(" + put(f"touch {m}") + b"tR.", "_compat_pickle; picklescan pull request 40"),
    sample("name/py2-copy-reg", lambda m: b"ccopy_reg\n_reconstructor\n(cimaplib\nIMAP4_stream\ncimaplib\nIMAP4_stream\n" + put(f"touch {m}") + b"tR.", "_compat_pickle"),
    sample("name/py2-user-dict", lambda m: b"cUserDict\nUserDict\n0" + old_payload(m) + b".", "_compat_pickle"),
    sample("name/dotted", lambda m: pickled(call("shutil:os.mkdir", m)), "PEP 3154: qualified names; CVE-2025-10157"),
    sample("name/dotted-to-a-type", lambda m: pickled(call("collections:_sys.modules.__class__.__init__.__class__", m)), "PEP 3154", fires="a type that takes no text"),
    sample("name/submodule", lambda m: pickled(call("asyncio.unix_events:os.mkdir", m)), "CVE-2025-10157: match of sub-modules"),
    sample("name/string-escapes", lambda m: b"\x80\x04S'\\x6f\\163'\nS'mk\\x64ir'\n\x93" + put((m,)) + b"R.", "Lib/pickle.py: STRING"),
    sample("name/unicode-escapes", lambda m: b"\x80\x04V\\u006fs\nVmkd\\u0069r\n\x93" + put((m,)) + b"R.", "Lib/pickle.py: UNICODE"),
    sample("name/binstring", lambda m: b"\x80\x04T\x02\0\0\0osU\x05mkdir\x93" + put((m,)) + b"R.", "Lib/pickle.py: BINSTRING"),
    sample("name/binunicode8", lambda m: b"\x80\x04\x8d" + struct.pack("<Q", 2) + b"os\x8c\x05mkdir\x93" + put((m,)) + b"R.", "Lib/pickle.py: BINUNICODE8"),
    sample("name/computed", lambda m: b"\x80\x04" + call("builtins:str", "os") + call("builtins:str", "mkdir") + b"\x93" + put((m,)) + b"R.", "names made by listed callables"),
    sample("name/getattr-chain", lambda m: pickled(call(call("builtins:getattr", call("builtins:__import__", "os"), "mkdir"), m)), "spec: getattr chains"),
    sample("name/getattr-listed", lambda m: pickled(call(call("builtins:getattr", call("builtins:getattr", named("collections:OrderedDict"), "__init__"), "__class__"), m)), "spec: getattr chains", fires="a type that cannot be made"),
    sample("parse/no-header", lambda m: old_payload(m) + b".", "CVE-2025-10155: protocol 0 in .bin", suffix=".bin"),
    sample("parse/header-1", lambda m: b"\x80\x01" + old_payload(m) + b".", "CVE-2025-10155", suffix=".bin"),
    sample("parse/header-twice", lambda m: b"\x80\x00\x80\x04" + payload(m) + b"\x80\x02.", "PEP 307: PROTO anywhere"),
    sample("parse/extension-txt", lambda m: pickled(payload(m)), "GHSA-769v-p64c-89pr, CVE-2025-1889: extension", suffix=".txt"),
    sample("parse/extension-safetensors", lambda m: pickled(payload(m)), "CVE-2025-1889", suffix=".safetensors"),
    sample("parse/broken-tail", lambda m: b"\x80\x04" + payload(m) + b"\xff\xff\xff", "nullifAI, ReversingLabs, February 2025"),
    sample("parse/broken-tail-old", lambda m: old_payload(m) + b"XXXX", "nullifAI, February 2025"),
    sample("parse/no-stop", lambda m: b"\x80\x04" + payload(m), "nullifAI, February 2025"),
    sample("parse/import-only", lambda m: line("antivenom_marker_module:x") + b".", "spec: import-only probes", fires="a module that is not there"),
    sample("parse/second-stream", lambda m: pickled({"a": 1}) + pickled(payload(m)), "spec: trailing streams", loader="pickle-twice"),
    sample("parse/trailing-bytes", lambda m: pickled(payload(m)) + b"\0" * 64, "spec: trailing streams"),
    sample("parse/frame", _frame, "PEP 3154: framing"),
    sample("parse/frame-straddled", _straddling, "cpython issue 154848", loader="pickle-file"),
    sample("parse/frame-beyond-file", lambda m: b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + payload(m) + b"N", "Lib/pickle.py: _Unframer", loader="pickle.py"),
    sample("parse/octal", lambda m: b"I010\n0" + old_payload(m) + b".", "Modules/_pickle.c: load_int uses strtol"),
    sample("parse/number-with-nul", lambda m: b"I1\0\0\n0" + old_payload(m) + b".", "Modules/_pickle.c: load_int"),
    sample("parse/nothing-appended-to-none", lambda m: b"N(e0" + old_payload(m) + b".", "Modules/_pickle.c: do_append"),
    sample("parse/arguments-in-a-list", lambda m: line("os:mkdir") + put([m]) + b"R.", "Lib/pickle.py: load_reduce", loader="pickle.py"),
    sample("parse/long-line", lambda m: b"V" + b"x" * 400_000 + b"\n0" + old_payload(m) + b".", "scanners that read a prefix"),
    sample("parse/far-behind", lambda m: b"\x80\x04" + put(b"\0" * 3_000_000) + b"0" + payload(m) + b".", "scanners that read a prefix"),
    sample("parse/many-opcodes-first", lambda m: b"\x80\x04" + b"N0" * 200_000 + payload(m) + b".", "scanners that stop early"),
    sample("nested/bytes", lambda m: pickled(call("pickle:loads", pickled(payload(m)))), "picklescan GHSA-84r2-jw7c-4r5q: nested pickle"),
    sample("nested/_pickle", lambda m: pickled(call("_pickle:loads", pickled(payload(m)))), "modelscan pull request 270"),
    sample("nested/bytearray-grown", lambda m: b"\x80\x05" + named("pickle:loads") + b"\x96" + struct.pack("<Q", 0) + b"(" + b"".join(b"K" + bytes((each,)) for each in pickled(payload(m))) + b"e\x85R.", "spec: nested pickles in bytes"),
    sample("nested/encode", lambda m: pickled(call("pickle:loads", call("_codecs:encode", pickled(payload(m)).decode("latin-1"), "latin-1"))), "spec: nested pickles in bytes"),
    sample("nested/map", lambda m: pickled(call("collections:deque", call("builtins:map", named("builtins:eval"), [code(m)]))), "callables that call their argument"),
    sample("nested/partial", lambda m: b"\x80\x04" + call("functools:partial", named("os:mkdir"), m) + b")R.", "fickling pull request 210: functools.partial"),
    sample("nested/default-factory", lambda m: pickled(call("operator:getitem", call("collections:defaultdict", call("functools:partial", named("os:mkdir"), m)), 1)), "containers that call their factory"),
)  # fmt: skip
