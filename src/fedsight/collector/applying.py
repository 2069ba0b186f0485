"""Getting blocks into the store, and past a line that it can't take: only that line becomes a dead letter."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from fedsight.events import BadLine, Block
from fedsight.store import Receipt, Store

logger = logging.getLogger(__name__)


def apply(store: Store, receipts: Sequence[Receipt]) -> None:
    """Apply all in one transaction; after a second failure go through them piece by piece.

    Raises whatever the store raises when it can't take anything at all (a full disk).
    """
    try:
        store.apply(receipts)
    except Exception:
        logger.exception("a commit of %d blocks failed; trying once more", len(receipts))
        try:
            store.apply(receipts)
        except Exception:
            logger.exception("it failed again; going through it piece by piece")
            for receipt in receipts:
                _apply_piece(store, receipt)


def _apply_piece(store: Store, receipt: Receipt) -> None:
    """Apply a block, halving it where it fails, until the line that the store can't take stands alone."""
    try:
        store.apply([receipt])
    except Exception as error:
        block = receipt.block
        if len(block.events) > 1:
            for half in _halves(block):
                _apply_piece(store, msgspec.structs.replace(receipt, block=half))
            return
        reason = f"the index could not take this line: {type(error).__name__}: {error}"
        logger.error("journal %s, offset %d: %s", receipt.header.journal, block.start, reason)  # noqa: TRY400
        dead = Block(block.start, block.data, [None], [BadLine(block.start, reason)])
        store.apply([msgspec.structs.replace(receipt, block=dead)])


def _halves(block: Block) -> tuple[Block, Block]:
    middle = len(block.events) // 2
    at = list(block.offsets())[middle]
    cut = at - block.start
    return (
        Block(block.start, block.data[:cut], block.events[:middle], [b for b in block.bad if b.offset < at]),
        Block(at, block.data[cut:], block.events[middle:], [b for b in block.bad if b.offset >= at]),
    )
