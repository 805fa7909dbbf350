"""`python -m tests.services.oidc http://127.0.0.1:8410`: a provider to try `dipper up` with, until Ctrl-C."""

from __future__ import annotations

import sys
import threading

from tests.services.oidc import Provider, Somebody

PEOPLE = [
    Somebody("ana", {"email": "ana@example.com", "email_verified": True, "groups": ["ops"]}),
    Somebody("li", {"email": "li@example.com", "email_verified": True, "groups": ["staff"]}),
    Somebody("eve", {"email": "eve@example.org", "email_verified": True, "groups": []}),
]


def main() -> None:
    """Say what to set, and serve."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8410"
    with Provider(PEOPLE) as provider:
        provider.redirect = f"{url}/oauth2callback"
        print(f"export DIPPER_URL={url} DIPPER_OIDC_METADATA={provider.metadata_url} DIPPER_OIDC_NAME='Example ID'")
        print(f"export DIPPER_OIDC_CLIENT={provider.client} DIPPER_OIDC_SECRET={provider.secret}")
        print("export DIPPER_OIDC_ROLES=ops=operator,staff=viewer", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
