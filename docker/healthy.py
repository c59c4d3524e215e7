"""Whether a service answers: `healthy.py http://HOST:PORT/PATH` or `healthy.py tcp://HOST:PORT`; status 0 if it does.

With nothing but the standard library, since it runs every few seconds in every container.
"""

import socket
import sys
from urllib.parse import urlsplit
from urllib.request import urlopen

PATIENCE_S = 5


def is_healthy(address: str) -> bool:
    """Of an http address: it answers with a status below 400. Of a tcp one: it accepts a connection."""
    parts = urlsplit(address)
    try:
        if parts.scheme == "tcp":
            socket.create_connection((str(parts.hostname), int(parts.port or 0)), PATIENCE_S).close()
        else:
            urlopen(address, timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(0 if is_healthy(sys.argv[1]) else 1)
