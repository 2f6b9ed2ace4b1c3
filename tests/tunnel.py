"""A tunnel that ends TLS before a server, as those do that make a developer's machine known to the world."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import tempfile
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Tunnel:
    """async with Tunnel(name, port) as tunnel: speaks TLS at tunnel.port, plain HTTP to the server at `port`.

    rewrite  whether the server is called by its own address, instead of the name that the client called
    """

    def __init__(self, name: str, port: int, *, rewrite: bool) -> None:
        self._name = name
        self._target = port
        self._rewrite = rewrite
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Tunnel:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=certified(self._name))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        head = await reader.readuntil(b"\r\n\r\n")
        if self._rewrite:
            head = head.replace(f"Host: {self._name}".encode(), f"Host: 127.0.0.1:{self._target}".encode())
        far_writer.write(head)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
        except ConnectionError:
            pass
        finally:
            sink.close()


def certified(name: str) -> ssl.SSLContext:
    """Return the context of a server with a certificate of its own making."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(certificate(name))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def certificate(name: str) -> bytes:
    """Return a new key with a certificate that it signed itself, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, none) + signed.public_bytes(serialization.Encoding.PEM)
