"""TLS for gRPC: HTTP/2 by ALPN, TLS 1.2 or newer, and the names in a client's certificate."""

from __future__ import annotations

import ssl
from os import PathLike
from typing import Any

ALPN = "h2"


def server_ssl_context(
    certificate: str | PathLike[str],
    private_key: str | PathLike[str],
    client_ca: str | PathLike[str] | None = None,
    revocation_list: str | PathLike[str] | None = None,
) -> ssl.SSLContext:
    """A context for `open_listener`, from PEM files.

    With `client_ca` (a bundle) every client must show a certificate it signed (mTLS), and with
    `revocation_list` one that is not on that list. The list (RFC 5280) must be signed by the
    authority and not be out of date: OpenSSL refuses everyone by one that is.
    Raises OSError or ssl.SSLError for files that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([ALPN])
    context.load_cert_chain(certificate, private_key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        if revocation_list is not None:
            context.load_verify_locations(revocation_list)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return context


def certificate_names(certificate: dict[str, Any] | None) -> tuple[str, ...]:
    """Names in a certificate as `ssl.SSLSocket.getpeercert` gives it (empty unless verified)."""
    if not certificate:
        return ()
    alternative = certificate.get("subjectAltName", ())
    names = [
        value for wanted in ("DNS", "URI", "email") for kind, value in alternative if kind == wanted
    ]
    names += [
        value
        for relative_name in certificate.get("subject", ())
        for key, value in relative_name
        if key == "commonName"
    ]
    return tuple(names)
