from typing import IO, Any, Callable, final

__all__ = [
    "GENERATOR", "Capsule", "CapsuleFrag", "Core", "KeyFrag", "PublicKey", "SecretKey", "SecretKeyFactory", "Task",
    "VerifiedCapsuleFrag", "VerifiedKeyFrag", "decrypt_original", "decrypt_reencrypted", "encrypt", "generate_kfrags", "reencrypt",
]

_Given = tuple[str, tuple[str, bytes] | None]

@final
class Task:
    def cancel(self) -> None: ...

@final
class Core:
    @staticmethod
    def open(params: str) -> Core: ...
    def call(
        self, operation: str, params: str, bytes: tuple[str, bytes] | None = None, timeout: float | None = None
    ) -> _Given: ...
    def start(
        self, done: Callable[[Any, Any], None], operation: str, params: str,
        bytes: tuple[str, bytes] | None = None, timeout: float | None = None,
    ) -> Task: ...
    def encrypt_stream(self, source: IO[bytes], target: IO[bytes], params: str) -> str: ...
    def decrypt_stream(self, source: IO[bytes], target: IO[bytes], params: str, timeout: float | None = None) -> str: ...

GENERATOR: bytes
"""The second generator of the curve, compressed, to compare with another implementation's."""

@final
class SecretKey:
    """A secret key: it decrypts, shares, or signs what is shared. One key should do one of these."""

    @staticmethod
    def random() -> SecretKey:
        """A new one."""

    @staticmethod
    def from_be_bytes(data: bytes) -> SecretKey:
        """Reads its 32 bytes. Raises ``BadKey`` if they are none."""

    def to_be_bytes(self) -> bytes:
        """Its 32 bytes. Python cannot wipe them from memory."""

    def public_key(self) -> PublicKey:
        """The public key."""

@final
class PublicKey:
    """A public key."""

    @staticmethod
    def from_compressed_bytes(data: bytes) -> PublicKey:
        """Reads its 33 bytes. Raises ``BadKey`` if they are none."""

    def to_compressed_bytes(self) -> bytes:
        """Its 33 bytes."""

    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class SecretKeyFactory:
    """A seed from which keys, secrets and further factories come, each by its label."""

    @staticmethod
    def random() -> SecretKeyFactory:
        """A new one."""

    @staticmethod
    def from_secure_randomness(seed: bytes) -> SecretKeyFactory:
        """The one with this seed: 32 bytes from a good source of randomness. Raises ``BadKey`` for another number."""

    def make_key(self, label: bytes) -> SecretKey:
        """The key of a label."""

    def make_factory(self, label: bytes) -> SecretKeyFactory:
        """The factory of a label."""

    def make_secret(self, label: bytes) -> bytes:
        """64 secret bytes of a label."""

@final
class Capsule:
    """What opens a message, for the owner and for whoever gets answers of the nodes. It has passed its own check."""

    @staticmethod
    def from_bytes(data: bytes) -> Capsule:
        """Reads its 98 bytes. Raises ``BadData`` if they are none."""

    def __bytes__(self) -> bytes: ...
    def __eq__(self, value: object, /) -> bool: ...

@final
class KeyFrag:
    """One node's share, as received. It is secret."""

    @staticmethod
    def from_bytes(data: bytes) -> KeyFrag:
        """Reads its 260 bytes; what they claim is not checked yet. Raises ``BadData`` if they are none."""

    def verify(
        self, verifying_pk: PublicKey, delegating_pk: PublicKey | None = None, receiving_pk: PublicKey | None = None
    ) -> VerifiedKeyFrag:
        """Checks it against its commitment and the owner's signature. A key that the signature covers must be given. Raises
        ``BadProofs``."""

    def __bytes__(self) -> bytes: ...

@final
class VerifiedKeyFrag:
    """One node's share, checked. It is secret."""

    def __bytes__(self) -> bytes: ...

@final
class CapsuleFrag:
    """One node's answer, as received."""

    @staticmethod
    def from_bytes(data: bytes) -> CapsuleFrag:
        """Reads its 359 bytes; its proof is not checked yet. Raises ``BadData`` if they are none."""

    def verify(
        self, capsule: Capsule, verifying_pk: PublicKey, delegating_pk: PublicKey, receiving_pk: PublicKey
    ) -> VerifiedCapsuleFrag:
        """Checks that a holder of a share which the owner signed made this from this capsule. Raises ``BadProofs``."""

    def __bytes__(self) -> bytes: ...
    def __eq__(self, value: object, /) -> bool: ...

@final
class VerifiedCapsuleFrag:
    """One node's answer, checked against one capsule and three keys."""

def encrypt(delegating_pk: PublicKey, plaintext: bytes) -> tuple[Capsule, bytes]:
    """Encrypts a message to the owner of a key, and to whomever they let in later."""

def decrypt_original(delegating_sk: SecretKey, capsule: Capsule, ciphertext: bytes) -> bytes:
    """Decrypts a message with the key that it was encrypted to. Raises ``WrongKey`` if it was not, or was altered."""

def generate_kfrags(
    delegating_sk: SecretKey, receiving_pk: PublicKey, signer: SecretKey, threshold: int, shares: int,
    sign_delegating_key: bool = True, sign_receiving_key: bool = True,
) -> list[KeyFrag]:
    """Makes the shares of ``shares`` nodes, of which any ``threshold`` let the recipient in to all that is encrypted to the owner's
    key. Nodes that are not to know the keys get signatures that do not cover them."""

def reencrypt(capsule: Capsule, kfrag: VerifiedKeyFrag) -> CapsuleFrag:
    """What a node does: re-encrypts a capsule with its share, and proves it."""

def decrypt_reencrypted(
    receiving_sk: SecretKey, delegating_pk: PublicKey, capsule: Capsule, verified_cfrags: list[VerifiedCapsuleFrag],
    ciphertext: bytes,
) -> bytes:
    """Decrypts a message with the answers of enough nodes; all of them are used. Raises ``WrongKey`` if they are too few, do not belong
    together or are for somebody else, and if the message is another one."""
