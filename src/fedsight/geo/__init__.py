"""Where a client is, without calling out."""

from __future__ import annotations

from fedsight.geo.precision import Precision, blur

__all__ = ["Precision", "blur"]
