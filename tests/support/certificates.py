"""Certificates of one test authority, as PEM files, and a node that asks for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from dexsdk import Key, Tls
from tests.support.node_process import NodeProcess

OPERATOR_NAME = "operator-1.example"


class ClientPems(NamedTuple):
    """A client certificate and its key."""

    certificate: Path
    private_key: Path


class Certificates:
    """An authority, a server certificate for localhost and 127.0.0.1, clients on demand."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        self.server = self.issue("server", "localhost", "127.0.0.1")
        self.operator = self.issue("operator", OPERATOR_NAME)
        self.stranger = self.issue("stranger", "stranger.example")

    def issue(self, name: str, *identities: str, ends: datetime | None = None) -> ClientPems:
        """A certificate of this authority, as files of this name."""
        issued = self._authority.issue_cert(*identities, not_after=ends)
        files = ClientPems(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        issued.private_key_pem.write_to_path(str(files.private_key))
        files.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return files

    def revoke(self, *revoked: ClientPems) -> Path:
        """The authority's list of revoked certificates, written anew."""
        authority = x509.load_pem_x509_certificate(self.ca.read_bytes())
        now = datetime(2020, 1, 1, tzinfo=UTC)
        list_ = x509.CertificateRevocationListBuilder(
            authority.subject, now, now + timedelta(days=36_500)
        )
        for each in revoked:
            certificate = x509.load_pem_x509_certificate(each.certificate.read_bytes())
            entry = x509.RevokedCertificateBuilder(certificate.serial_number, now).build()
            list_ = list_.add_revoked_certificate(entry)
        key = serialization.load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        signed = list_.sign(key, hashes.SHA256())  # type: ignore[arg-type]
        path = self._folder / "revoked.pem"
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path

    def credentials(self, client: ClientPems | None = None) -> grpc.ChannelCredentials:
        """What a stock grpcio client shows; with None no certificate."""
        if client is None:
            return grpc.ssl_channel_credentials(self.ca.read_bytes())
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(), client.private_key.read_bytes(), client.certificate.read_bytes()
        )

    def sdk(self, client: ClientPems | None = None) -> Tls:
        """The same for the SDK."""
        if client is None:
            return Tls(ca=self.ca)
        return Tls(ca=self.ca, certificate=client.certificate, private_key=client.private_key)

    def settings(self, *, mutual: bool = True) -> list[str]:
        """Settings of a node that shows its certificate and, if mutual, asks for one."""
        settings = [
            f"tls.certificate={self.server.certificate}",
            f"tls.private_key={self.server.private_key}",
        ]
        return [*settings, f"tls.client_ca={self.ca}"] if mutual else settings


def mtls_node(data_dir: Path, certificates: Certificates, backend: str) -> NodeProcess:
    """A started node with two operators: one told by its key, one by its certificate."""
    data_dir.mkdir(parents=True)
    key = Key.generate()
    key.save(data_dir / "operator.key")
    operators = (
        f'[{{ name = "by-key", public_key = "{key.public_bytes.hex()}" }},'
        f' {{ name = "by-certificate", certificate_name = "{OPERATOR_NAME}" }}]'
    )
    return NodeProcess(
        data_dir,
        backend=backend,
        settings=certificates.settings(),
        environment={"DEX_OPERATORS": operators},
    ).start()
