"""The sections [[cv]] of all kinds, as one type that TOML chooses from by `kind`; "vector" where none is given."""

from .vector import VectorConfig

CVConfig = VectorConfig
