"""Names that stand for client ids, so that nobody learns from a recording who took part.

A pseudonym depends on the id and on a key alone: with the same key, the same client has the same
pseudonym in every run, every process and every year. Without the key, neither can the id be worked
out, nor can it be checked whether a pseudonym belongs to a certain id.
"""

from __future__ import annotations

import hashlib
import hmac

from fedsight.errors import UsageError

_NUM_HEX = 12
_MOST_KNOWN = 100_000


class Pseudonyms:
    """Pseudonyms by one key.

    key: a secret of the federation's; keep it, for another key gives other names.

    Raises `UsageError` for a key that is empty or no text.
    """

    def __init__(self, key: str | bytes) -> None:
        if not isinstance(key, (str, bytes)) or not key:
            raise UsageError(
                "anonymize",
                "anonymize must be a secret text or bytes (not empty); `python -c 'import secrets; "
                "print(secrets.token_hex(16))'` makes one.",
            )
        self._hmac = hmac.new(key.encode() if isinstance(key, str) else key, digestmod=hashlib.sha256)
        self._known: dict[str, str] = {}

    def of(self, client_id: str) -> str:
        """What stands for `client_id`: "client-" and the first 48 bits of its HMAC-SHA256, as hexadecimal digits.

        Among 100,000 clients the chance that any two share a pseudonym is 2 in 100,000.
        """
        known = self._known.get(client_id)
        if known is None:
            digest = self._hmac.copy()
            digest.update(client_id.encode("utf-8", "surrogatepass"))
            known = f"client-{digest.hexdigest()[:_NUM_HEX]}"
            if len(self._known) >= _MOST_KNOWN:
                self._known = {}
            self._known[client_id] = known
        return known
