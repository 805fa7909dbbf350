"""A small identity provider that speaks OpenID Connect on 127.0.0.1, for tests of logging in."""

from tests.services.oidc.provider import Provider, Somebody

__all__ = ["Provider", "Somebody"]
