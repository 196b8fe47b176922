"""Pickle streams made up opcode by opcode: mostly valid, with marks, memo, protocols and frames where real ones have none."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

# Kinds of stack items: s text, g global, i instance, t tuple, d dict, l list, e set, h other hashable, o other, ( mark.
# Each opcode: its bytes, the kinds it needs on top of the stack ("." any, "h" any hashable), what it leaves of them.
_PLAIN: tuple[tuple[bytes, str, str], ...] = (
    *((b"\x8c" + bytes((len(text),)) + text, "", "s") for text in (b"os", b"system", b"a.b", b"__builtin__", b"eval")),
    *((line, "", "s") for line in (b"S'o\\x73'\n", b'S"sys\\164em"\n', b"V\\u006fs\n", b"X\x02\0\0\0os", b"U\x02os")),
    *((line, "", "g") for line in (b"cos\nsystem\n", b"c__builtin__\neval\n", b"ccommands\ngetoutput\n")),
    *((line, "", "g") for line in (b"ccopy_reg\n_reconstructor\n", b"ca.b\nc.d\n", b"cexceptions\nOSError\n")),
    *((b"\x80" + bytes((protocol,)), "", "") for protocol in range(6)),
    *((line, "", "h") for line in (b"N", b"\x88", b"\x89", b"K\x01", b"M\x01\x02", b"J\1\2\3\4", b"I01\n", b"I12\n")),
    *((line, "", "h") for line in (b"L3L\n", b"F1.5\n", b"G\0\0\0\0\0\0\0\0", b"\x8a\x01\x05", b"\x8b\1\0\0\0\5")),
    *((line, "", "h") for line in (b"C\x01a", b"B\x01\0\0\0a", b"\x8e\1\0\0\0\0\0\0\0a", b"I010\n", b"I1\0x\n")),
    (b"\x8d\2\0\0\0\0\0\0\0os", "", "s"),
    (b"T\2\0\0\0os", "", "s"),
    (b"\x96\1\0\0\0\0\0\0\0a", "", "o"),
    *((code, "", kind) for code, kind in ((b")", "t"), (b"]", "l"), (b"}", "d"), (b"\x8f", "e"), (b"(", "("))),
    *((code, needs, "t") for code, needs in ((b"\x85", "."), (b"\x86", ".."), (b"\x87", "..."))),
    (b"\x93", "ss", "g"),
    *((code, "gt", "i") for code in (b"R", b"\x81")),
    (b"\x92", "gtd", "i"),
    *((b"b", kind + ".", kind) for kind in "ig"),
    *((b"a", kind + ".", kind) for kind in "lig"),
    *((b"s", kind + "h.", kind) for kind in "dig"),
    (b"0", ".", ""),
    (b"0", "(", ""),
    (b"2", "s", "ss"),
    (b"2", "g", "gg"),
)
# Opcodes that take all items down to a mark: what must lie under the mark, of what the items must be, what is left.
_MARKED: tuple[tuple[bytes, str, str, str], ...] = (
    (b"t", "", "any", "t"),
    (b"l", "", "any", "l"),
    (b"1", "", "any", ""),
    (b"d", "", "pairs", "d"),
    (b"\x91", "", "hashable", "h"),
    (b"o", "", "callee", "i"),
    (b"ios\nsystem\n", "", "any", "i"),
    (b"i__builtin__\nxrange\n", "", "any", "i"),
    *((b"e", kind, "any", kind) for kind in "li"),
    *((b"u", kind, "pairs", kind) for kind in "di"),
    *((b"\x90", kind, "hashable", kind) for kind in "ei"),
)
_HASHABLE = "sghi"
# Several opcodes at once, which chance alone would seldom put together, and what they leave.
_PHRASES: tuple[tuple[bytes, str], ...] = (
    (b"cos\nsystem\n)R", "i"),
    (b"(cos\nsystem\nK\x01o", "i"),
    (b"c__builtin__\neval\n)}\x92", "i"),
    (b"\x8c\x02os\x8c\x06system\x93", "g"),
    (b"(S'a'\nios\nsystem\n", "i"),
    (b"](K\x01ccommands\ngetoutput\ne", "l"),
    (b"}(K\x01Ncos\nsystem\n)Ru", "d"),
    (b"\x8f(K\x01K\x02\x90", "e"),
    (b"cos\nsystem\n}(V__setstate__\nNub", "g"),
    (b"(cos\nsystem\n", "(g"),
)


@dataclass
class _State:
    stack: str = ""
    memo: dict[int, str] = field(default_factory=dict)

    def choices(self) -> Iterator[tuple[bytes, str, dict[int, str]]]:
        """Each opcode that fits, with the stack and what it adds to the memo."""
        for code, needs, leaves in _PLAIN:
            if self._top_is(needs):
                yield code, self.stack[: len(self.stack) - len(needs)] + leaves, {}
        below, mark, items = self.stack.rpartition("(")
        for code, under, kind, leaves in _MARKED if mark else ():
            if below.endswith(under) and _are(items, kind):
                yield code, below[: len(below) - len(under)] + leaves, {}
        for place, kind in self.memo.items():
            yield (f"g{place}\n".encode() if place % 2 else b"h" + bytes((place,))), self.stack + kind, {}
        if self.stack and self.stack[-1] != "(":
            top = self.stack[-1]
            yield b"\x94", self.stack, {len(self.memo): top}
            yield b"q\x01", self.stack, {1: top}
            yield b"p2\n", self.stack, {2: top}
            yield b"r\x03\0\0\0", self.stack, {3: top}

    def _top_is(self, needs: str) -> bool:
        top = self.stack[len(self.stack) - len(needs) :]
        return len(top) == len(needs) and all(map(_fits, top, needs))


def _fits(item: str, need: str) -> bool:
    return item == need or (need == "." and item != "(") or (need == "h" and item in _HASHABLE)


def _are(items: str, kind: str) -> bool:
    if kind == "pairs":
        return len(items) % 2 == 0 and set(items[::2]) <= set(_HASHABLE)
    return (
        kind == "any"
        or (kind == "hashable" and set(items) <= set(_HASHABLE))
        or (kind == "callee" and items[:1] == "g")
    )


def opcodes(picks: Sequence[int]) -> list[bytes]:
    """A stream's opcodes: each pick chooses a phrase, one of those that fit, one of those that use up stack items, or any."""
    state, chosen = _State(), []
    for pick in picks:
        if pick and pick % 37 == 0:
            chosen.append(_PLAIN[pick % len(_PLAIN)][0])
            continue
        if pick % 8 == 0:
            code, leaves = _PHRASES[pick // 8 % len(_PHRASES)]
            chosen.append(code)
            state.stack += leaves
            continue
        fitting = list(state.choices())
        using = [each for each in fitting if len(each[1]) < len(state.stack)]
        if pick % 4 == 1 and using:
            fitting = using
        kinds = sorted({code[:1] for code, _, _ in fitting})
        kind = kinds[pick // 4 % len(kinds)]
        fitting = [each for each in fitting if each[0][:1] == kind]
        code, state.stack, added = fitting[pick % len(fitting)]
        state.memo |= added
        chosen.append(code)
    return [*chosen, b"." if state.stack.rstrip("(") == state.stack and state.stack else b"N."]


def framed(codes: Sequence[bytes], cuts: Sequence[tuple[int, int]]) -> bytes:
    """The stream with frames: each cut is how many opcodes one takes, and by how much its length is wrong."""
    out, at = b"", 0
    for count, error in cuts:
        body = b"".join(codes[at : at + count])
        out += b"\x95" + struct.pack("<Q", max(0, len(body) + error)) + body
        at += count
    return out + b"".join(codes[at:])
