"""Ed25519 keys (RFC 8032) and the file they live in.

The file is PEM PKCS #8 without encryption (RFC 5958, RFC 8410), so `openssl pkey`, Go's
`x509.ParsePKCS8PrivateKey` and Node's `crypto.createPrivateKey` read it too.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final, NoReturn, final

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from dexsdk.errors import CallerError

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

# The DER of PrivateKeyInfo (version 0, id-Ed25519, one OCTET STRING in another) up to the seed.
_DER_PREFIX: Final = bytes.fromhex("302e020100300506032b657004220420")
_PEM_BEGIN: Final = "-----BEGIN PRIVATE KEY-----"
_PEM_END: Final = "-----END PRIVATE KEY-----"
_FILE_BYTES_MAX: Final = 4096


@final
class Key:
    """A private Ed25519 key. It never shows its secret: not in repr, not in a pickle."""

    __slots__ = ("_secret", "public_bytes")

    public_bytes: Final[bytes]
    """The public key, 32 bytes."""

    def __init__(self, seed: bytes) -> None:
        """Makes the key of a 32-byte seed; CallerError (`seed`) for any other length."""
        if len(seed) != SEED_BYTES:
            raise CallerError("FIELD_INVALID", "an Ed25519 seed has 32 bytes", field="seed")
        self.public_bytes, self._secret = crypto_sign_seed_keypair(seed)

    @classmethod
    def generate(cls) -> Key:
        """A new key from the operating system's randomness."""
        return cls(os.urandom(SEED_BYTES))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Key:
        """Reads a key file; CallerError (`path`) when others may read it or it holds no key."""
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise _bad_file(path, "is not a regular file")
            if mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise _bad_file(path, "may be used by others: chmod 600 it")
            text = file.read(_FILE_BYTES_MAX)
        return cls(_seed_of_pem(path, text))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the key, readable by its owner alone; FileExistsError rather than overwrite."""
        body = base64.b64encode(_DER_PREFIX + self._secret[:SEED_BYTES]).decode("ascii")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{_PEM_BEGIN}\n{body}\n{_PEM_END}\n")
            file.flush()
            os.fsync(file.fileno())

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`. `dexsdk.signing` says what the message is."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"Key(public={self.public_bytes.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled or copied: save it to a file")


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is one of `message` by the holder of `public_key`."""
    if len(public_key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def _seed_of_pem(path: str | os.PathLike[str], text: bytes) -> bytes:
    lines = text.decode("ascii", "replace").split()
    joined = "".join(lines)
    begin, end = _PEM_BEGIN.replace(" ", ""), _PEM_END.replace(" ", "")
    if not (joined.startswith(begin) and joined.endswith(end)):
        raise _bad_file(path, "holds no PEM private key")
    try:
        der = base64.b64decode(joined[len(begin) : -len(end)], validate=True)
    except binascii.Error:
        raise _bad_file(path, "holds broken base64") from None
    if not der.startswith(_DER_PREFIX) or len(der) != len(_DER_PREFIX) + SEED_BYTES:
        raise _bad_file(path, "holds no Ed25519 key")
    return der[len(_DER_PREFIX) :]


def _bad_file(path: str | os.PathLike[str], problem: str) -> CallerError:
    return CallerError("FIELD_INVALID", f"{os.fspath(path)} {problem}", field="path")
