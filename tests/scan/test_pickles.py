"""Judging pickles: what is listed, what is called, what is hidden in them."""

from __future__ import annotations

import collections
import io
import os
import pickle
import struct
from typing import Any

import joblib
import numpy as np
import pytest
from model_files import Runs, look, rules

from antivenom.scan import AllowList, Limits, Status
from antivenom.scan.allow import Permission


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_safe_in_every_protocol(protocol: int) -> None:
    value = {"a": [1, 2.5, -7, 2**70, "x" * 5000, b"y", b"z" * 5000, {1}, frozenset([2]), (), (1,), None, True]}
    report = look(pickle.dumps((value, collections.OrderedDict(b=bytearray(b"c"))), protocol))
    assert (report.status, report.format) == (Status.SAFE, "pickle")


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_named_with_its_arguments_in_every_protocol(protocol: int) -> None:
    report = look(pickle.dumps([1, Runs(os.system, "echo hello")], protocol))
    assert report.status is Status.UNSAFE
    (finding,) = report.findings
    assert (finding.rule, finding.name) == ("pickle-global", "posix.system")
    assert finding.what == "calls posix.system('echo hello')"


def test_an_unlisted_name_of_a_known_package_is_unsafe_and_of_an_unknown_one_cannot_be_told() -> None:
    assert look(b"cshutil\nrmtree\n.").status is Status.UNSAFE
    assert look(b"cmyteam.nets\nNet\n.").status is Status.UNKNOWN


def test_python_2_names_are_judged_under_the_names_they_are_imported_by() -> None:
    assert look(b"c__builtin__\neval\n(S'1'\ntR.").findings[0].name == "builtins.eval"
    assert look(b"\x80\x02c__builtin__\nset\n]\x85R.").status is Status.SAFE
    assert look(b"\x80\x04c__builtin__\nset\n]\x85R.").findings[0].name == "__builtin__.set"  # not renamed from 3 on


def test_getattr_is_judged_by_what_it_reaches() -> None:
    inner = AllowList({"collections": dict.fromkeys(("OrderedDict", "OrderedDict.fromkeys"), Permission())})
    reach = b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\nS'%s'\ntR."
    assert look(reach % b"fromkeys", allow=inner).status is Status.SAFE
    assert look(reach % b"__subclasses__", allow=inner).findings[0].name == "collections:OrderedDict.__subclasses__"
    computed = b"cbuiltins\ngetattr\n(ccollections\nOrderedDict\n(tRS'keys'\ntR."
    assert rules(look(computed, allow=inner)) == ["pickle-computed-call"]


@pytest.mark.parametrize(
    ("stream", "rule"),
    [
        (b"ccollections\nOrderedDict\n}S'f'\nNsb.", "pickle-patched-global"),  # BUILD
        (b"ccollections\nOrderedDict\nNa.", "pickle-patched-global"),  # APPEND
        (b"ccollections\nOrderedDict\n(tR(tR.", "pickle-computed-call"),
        (b"\x80\x02\x82\x01.", "pickle-extension"),
        (b"\x80\x02ccollections\nOrderedDict\n)RN}X\x09\x00\x00\x00__class__Ns\x86b.", "pickle-shadowed-method"),
        (b"N.N.cposix\nsystem\n(S'true'\ntR.", "pickle-global"),
        (b"\x80\x02NQ.", "pickle-persistent-id"),
        (b"\x80\x04\x95\x03" + bytes(7) + b"K\x01\x8c\x01a.", "pickle-frame"),
        (b"\x80\x04\x95\x01" + bytes(7) + b"K\x01.", "pickle-frame"),
        (b"\x80\x02N.N.", "trailing-data"),
        (b"\x80\x02K", "malformed"),
        (b"\x80\x02R.", "malformed"),
        (b"\x80\x02h\x05.", "malformed"),
        (b"\x80\x03\xff.", "malformed"),
    ],
)
def test_structure(stream: bytes, rule: str) -> None:
    assert rule in rules(look(stream))


def test_what_was_called_before_a_stream_breaks_is_found() -> None:
    broken = pickle.dumps(Runs(os.system, "true"), 2)[:-1] + b"\xff\xff"
    assert rules(look(broken)) == ["pickle-global", "malformed"]


def test_a_loader_within_a_call_is_followed() -> None:
    inner = pickle.dumps(Runs(os.system, "true"))
    outer = b"ctorch.storage\n_load_from_bytes\n(C" + bytes([len(inner)]) + inner + b"tR."
    (finding,) = look(outer).findings
    assert finding.where == "file!<torch.storage._load_from_bytes argument>"
    assert finding.name == "posix.system"


def test_text_is_no_pickle_unless_it_acts() -> None:
    for text in (b"cat\ndog\nbird\n", b"# Notes\nof a model\n", b"config\nNone\n", b"Title\n", b"I am\n"):
        assert (look(text).format, look(text).status) == ("text", Status.SAFE), text
    assert look(b"cposix\nsystem\n(S'true'\ntR").status is Status.UNSAFE  # without STOP


@pytest.mark.parametrize("compress", [0, ("zlib", 1), ("gzip", 1), ("bz2", 1), ("xz", 1), ("lzma", 1)])
@pytest.mark.parametrize("array", [np.arange(50.0), np.zeros(3, [("a", "f4"), ("b", "i8", (2,))]), np.array([1, None])])
def test_joblib_arrays_are_stepped_over(compress: Any, array: np.ndarray) -> None:
    file = io.BytesIO()
    joblib.dump({"before": array, "after": [array.T, "x"]}, file, compress=compress)
    assert look(file.getvalue()).status is Status.SAFE
    file = io.BytesIO()
    joblib.dump([array, Runs(os.system, "true")], file, compress=compress)
    assert look(file.getvalue()).findings[0].name == "posix.system"


def test_opcodes_in_an_array_are_found_for_those_who_load_a_joblib_file_with_pickle() -> None:
    payload = b"0cposix\nsystem\n(S'true'\ntR."
    array = np.frombuffer(payload.ljust(64, b"."), np.uint8)
    file = io.BytesIO()
    joblib.dump([array], file)
    data = file.getvalue()
    at = data.index(payload)
    pad = data[at - 17 : at].rfind(b"\xff")  # joblib fills up to its alignment with 0xff, which no opcode begins with
    assert pad >= 0
    assert look(data).status is Status.SAFE  # pickle.load stops at the padding
    wrapper = data.index(b"numpy_array_alignment_bytes")
    assert data[wrapper + 27 :].startswith(b"\x94K\x10")
    bare = data[: wrapper + 28] + b"N" + data[wrapper + 30 : at - 17 + pad + 1 - data[at - 17 : at].count(b"\xff") - 1]
    assert look(bare + payload.ljust(64, b".") + data[at + 64 :]).status is not Status.SAFE


def test_limits_are_findings_and_keep_what_was_found() -> None:
    many = pickle.dumps([Runs(os.system, "true"), *range(5000)], 2)
    report = look(many, limits=Limits(opcodes=2000))
    assert rules(report)[-1] == "limit"
    assert report.status is not Status.SAFE
    names = b"".join(b"cshutil\nname%d\n0" % i for i in range(50))
    assert rules(look(b"\x80\x02" + names + b"N.", limits=Limits(findings=10))) == ["pickle-global"] * 10 + ["limit"]


def test_deep_and_self_referring_streams_end() -> None:
    assert look(b"\x80\x02" + b"(" * 10_000 + b"t" * 9_999 + b"t.").status is Status.SAFE
    doubling = b"\x80\x02)" + b"2\x86" * 5_000 + b"."  # a tuple that a traversal would need 2**5000 steps for
    assert look(doubling).status is Status.SAFE
    assert look(b"\x80\x02]q\x00h\x00a.").status is Status.SAFE


def test_long_lengths_do_not_allocate() -> None:
    for opcode in (b"\x8e", b"\x8d", b"\x96"):
        assert rules(look(b"\x80\x04" + opcode + struct.pack("<Q", 1 << 62))) == ["malformed"]
    assert rules(look(b"\x80\x02\x8b" + struct.pack("<i", -1))) == ["malformed"]
