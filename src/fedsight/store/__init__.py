"""The store: an index over journals, and the questions that can be asked of it (`fedsight.store.queries`)."""

from fedsight.store.duckdb import Store
from fedsight.store.receipts import Receipt

__all__ = ["Receipt", "Store"]
