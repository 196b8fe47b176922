"""Pictures in records: raw bytes of pixels as text, which the report turns into PNG. Nothing else is decoded."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from antivenom.core.errors import PluginError

if TYPE_CHECKING:  # plans are read where numpy is not installed
    import numpy as np

MOST = 64  # pixels of a side
SIDE = 96  # pixels of the page for the longer side, about


def encoded(image: np.ndarray) -> dict[str, Any]:
    """A picture, (height, width) or (height, width, 3) of bytes, as plain values for JSON.

    Raises:
        PluginError: another shape or type, or more than 64 pixels a side.
    """
    if image.dtype != "uint8" or not _is_shape(list(image.shape)):
        got = f"{image.dtype} of shape {image.shape}"
        raise PluginError(f"a picture of bytes with at most {MOST} pixels a side", got, "thin it out")
    return {"shape": list(image.shape), "pixels": base64.b64encode(image.tobytes()).decode()}


def decoded(picture: Mapping[str, Any]) -> np.ndarray:
    """The picture that `encoded` made.

    Raises:
        ValueError: the values are no picture.
    """
    import numpy as np

    shape, pixels = picture.get("shape"), picture.get("pixels")
    if not isinstance(shape, list) or not _is_shape(shape) or not isinstance(pixels, str):
        raise ValueError("no picture: a shape and pixels are expected")
    try:
        content = base64.b64decode(pixels, validate=True)
    except ValueError as error:
        raise ValueError("a picture whose pixels are no base64") from error
    if len(content) != math.prod(shape):
        raise ValueError(f"a picture of {len(content)} instead of {math.prod(shape)} bytes")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _is_shape(shape: list[object]) -> bool:
    sides = [side for side in shape[:2] if type(side) is int and 1 <= side <= MOST]
    return len(sides) == 2 and shape[2:] in ([], [3])


def as_png(picture: Mapping[str, Any]) -> str:
    """The picture as a PNG in base64, enlarged without smoothing."""
    from PIL import Image

    image, out = Image.fromarray(decoded(picture)), io.BytesIO()
    scale = max(1, SIDE // max(image.size))
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()
