"""Whether the collector in this container lives; exit status 0 where it does. It reads what the collector reads."""

import os
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_SEC = 4

is_tls = bool(os.environ.get("FEDSIGHT_TLS_CERT"))
url = f"{'https' if is_tls else 'http'}://127.0.0.1:{os.environ.get('FEDSIGHT_PORT') or 8083}/health/live"
# The certificate is in the host's name, and this is the same machine.
context = ssl._create_unverified_context() if is_tls else None  # noqa: SLF001
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
try:
    with opener.open(url, timeout=TIMEOUT_SEC) as answer:
        print(answer.status)
except (OSError, urllib.error.URLError) as error:
    sys.exit(f"{url}: {error}")
