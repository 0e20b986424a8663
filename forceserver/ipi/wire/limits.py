"""The largest sizes that a peer may announce, checked before anything is allocated."""

from dataclasses import dataclass

from ...errors import ProtocolError


@dataclass(frozen=True)
class Limits:
    """The largest sizes that a peer may announce; extras that are sent obey `max_string_bytes`, too."""

    max_atoms: int = 10_000_000
    max_batch: int = 1024
    max_string_bytes: int = 1 << 26

    def check_own_atoms(self, atoms: int) -> None:
        """Raises `ProtocolError` for a number of atoms that no connection can have."""
        if not 0 < atoms <= self.max_atoms:
            raise ProtocolError(f"{atoms} atoms: must be at least 1 and at most max_atoms = {self.max_atoms}")

    def check_atoms(self, announced: int, expected: int) -> None:
        """Raises `ProtocolError` if the peer announces another number of atoms than ours."""
        if announced == expected:
            return
        if not 0 < announced <= self.max_atoms:
            raise ProtocolError(
                f"the peer announced {announced} atoms: must be at least 1 and at most max_atoms = {self.max_atoms}"
            )
        raise ProtocolError(f"the peer announced {announced} atoms, but the template structure here has {expected}")

    def check_batch(self, text: str) -> int:
        """The batch size that INIT announces; raises `ProtocolError` if it is not a number or too large."""
        try:
            batch = int(text)
        except ValueError:
            batch = 0
        if not 0 < batch <= self.max_batch:
            raise ProtocolError(
                f"INIT announces batch_size:{text.strip()[:16]}; must be a whole number from 1 to max_batch = "
                f"{self.max_batch}"
            )
        return batch

    def check_length(self, length: int, what: str) -> None:
        """Raises `ProtocolError` if a text called `what` is announced with a length that is negative or too large."""
        limit = self.max_string_bytes
        if not 0 <= length <= limit:
            raise ProtocolError(f"{what} of {length} bytes: must be at least 0 and at most max_string_bytes = {limit}")
