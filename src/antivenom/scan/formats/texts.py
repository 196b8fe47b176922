"""Text in the encodings that readers of configuration detect: UTF-8, UTF-16 and UTF-32."""

from __future__ import annotations

import codecs

from antivenom.scan.view import View

_CONTROL = bytes(set(range(32)) - {9, 10, 12, 13, 27})
_HEAD = 1 << 16
_LONGEST = 1 << 26
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def is_text(view: View) -> bool:
    """Whether the content begins with UTF-8 text without control characters."""
    head = view.read(0, _HEAD)
    if head.translate(None, _CONTROL) != head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(head) == _HEAD and error.start > len(head) - 4  # the window can end within a character
    return True


def in_utf8(view: View) -> View | None:
    """The same text in UTF-8, if the content is text in UTF-16 or UTF-32, with or without a mark; None otherwise."""
    if not 2 <= len(view) <= _LONGEST or (codec := _wide(view.read(0, 4))) is None:
        return None
    if not is_text(View(view.read(0, 4096).decode(codec, "ignore").encode("utf-8", "replace"))):
        return None
    try:
        data = view.read().decode(codec).encode("utf-8")
    except UnicodeError:
        return None
    text = View(data)
    return text if is_text(text) else None


def _wide(head: bytes) -> str | None:
    """The encoding that a mark, or the zeros among the first two ASCII characters, stand for; as in RFC 4627."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec
    zeros = tuple(byte == 0 for byte in head)
    return {
        (False, True, False, True): "utf-16-le",
        (True, False, True, False): "utf-16-be",
        (False, True, True, True): "utf-32-le",
        (True, True, True, False): "utf-32-be",
        (False, True): "utf-16-le",
        (True, False): "utf-16-be",
    }.get(zeros)
