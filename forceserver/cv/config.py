"""The sections [[cv]] of all kinds, as one type that TOML chooses from by `kind`; "vector" where none is given."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Tag

from ..errors import InputError
from ..sections import argument_of, validated
from .base import VariableConfig
from .coordination import CoordinationConfig
from .power_spectrum import PowerSpectrumConfig
from .steinhardt import SteinhardtConfig
from .structure_distance import StructureDistanceConfig
from .vector import VectorConfig

DEFAULT = "vector"
SECTIONS: dict[str, type[VariableConfig]] = {
    "vector": VectorConfig,
    "coordination": CoordinationConfig,
    "steinhardt": SteinhardtConfig,
    "power_spectrum": PowerSpectrumConfig,
    "distance_to_structure": StructureDistanceConfig,
}


def _kind(content: Any) -> Any:
    return content.get("kind", DEFAULT) if isinstance(content, Mapping) else getattr(content, "kind", DEFAULT)


CVConfig = Annotated[
    Annotated[VectorConfig, Tag("vector")]
    | Annotated[CoordinationConfig, Tag("coordination")]
    | Annotated[SteinhardtConfig, Tag("steinhardt")]
    | Annotated[PowerSpectrumConfig, Tag("power_spectrum")]
    | Annotated[StructureDistanceConfig, Tag("distance_to_structure")],
    Discriminator(_kind),
]


def variable_section(content: Mapping[str, Any]) -> VariableConfig:
    """The section that the arguments of CollectiveVariable describe; `InputError` lists every problem, one a line."""
    kind = content.get("kind", DEFAULT)
    if kind not in SECTIONS:
        raise InputError(f"CollectiveVariable: kind = {kind!r}: known are {', '.join(SECTIONS)}")
    return validated(SECTIONS[kind], dict(content), "CollectiveVariable", name=argument_of)
