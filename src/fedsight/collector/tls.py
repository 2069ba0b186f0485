"""TLS for the collector's own socket: a certificate and its key, checked before anything is started."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from fedsight.errors import UsageError

CERT, KEY = "FEDSIGHT_TLS_CERT", "FEDSIGHT_TLS_KEY"


class Tls(msgspec.Struct, frozen=True):
    """PEM files. cert: the collector's certificate, then those between it and the CA. key: its key, without a password."""

    cert: Path
    key: Path


def tls_of(cert: str | None, key: str | None) -> Tls | None:
    """What the two settings mean together; None where neither is set.

    Raises `UsageError` naming the setting and the remedy: one without the other, a file that can't be read or isn't
    PEM, a key with a password, a key that isn't the certificate's.
    """
    if not cert and not key:
        return None
    if not cert or not key:
        missing, given = (CERT, KEY) if key else (KEY, CERT)
        raise UsageError(missing, f"{given} is set without {missing}; TLS needs both (--tls-cert FILE --tls-key FILE)")
    tls = Tls(Path(cert), Path(key))
    for variable, path in ((CERT, tls.cert), (KEY, tls.key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise UsageError(
                variable, f"{variable}: {path} can't be read: {error.strerror}; give a PEM file that this user may read"
            ) from error
    _check(tls)
    return tls


def _check(tls: Tls) -> None:
    try:
        ssl.create_default_context().load_verify_locations(tls.cert)
    except ssl.SSLError as error:
        raise UsageError(CERT, f"{CERT}: {tls.cert} holds no certificate in PEM form") from error

    def refuse_to_ask() -> str:
        # OpenSSL would ask at the terminal, and a service waits there for ever.
        raise UsageError(KEY, f"{KEY}: {tls.key} has a password; give a key without one, readable by this user alone")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.cert, tls.key, password=refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            why = f"{tls.key} is not the key of the certificate {tls.cert}; that key and certificate must be a pair"
        else:
            why = f"{tls.key} holds no key in PEM form that fits {tls.cert} ({error.reason or error})"
        raise UsageError(KEY, f"{KEY}: {why}") from error
