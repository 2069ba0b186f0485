"""How long a question takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def median_ms(ask: Callable[[], object], times: int) -> float:
    """The median of `times`, after one to warm up."""
    ask()
    took = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        took.append(time.perf_counter() - began)
    return 1000 * statistics.median(took)
