"""Under which names the chat may be reached while it is developed."""

import os
import socket
from urllib.parse import urlsplit

LOCAL = ["localhost", "127.0.0.1", "[::1]"]


def allowed_hosts() -> list[str]:
    """Return ALLOWED_HOSTS: what the environment says, and what `make serve HOST=… PUBLIC=…` opens."""
    hosts = os.environ.get("ALLOWED_HOSTS", "").split()
    if address := public():
        hosts += [urlsplit(address).hostname or "", *LOCAL]  # a tunnel may rewrite Host to the address it calls
    if os.environ.get("SERVE_HOST") in ("0.0.0.0", "::", "[::]"):
        hosts += [*own_addresses(), *LOCAL]
    return hosts


def public() -> str:
    """Return the address at which a tunnel makes the chat known, "https://x.example", or ""."""
    return os.environ.get("PUBLIC", "").rstrip("/")


def own_addresses() -> list[str]:
    """Return the names and addresses of this machine, as a phone on its network would call it."""
    name = socket.gethostname()
    found = [name, f"{name}.local"]
    try:
        found += socket.gethostbyname_ex(name)[2]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing; only asks which way a packet would go
            found.append(probe.getsockname()[0])
    except OSError:  # no network
        pass
    return found
