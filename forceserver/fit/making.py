"""Models from weights, and what their files say about the training."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from ..frame import Array
from ..models.ace import AceModel
from ..models.base import MEMBERS, Model
from ..models.kernel import GapModel, SoapHypers, SoapTerm
from ..representation.scaled_multispectrum import ScaledMultispectrum
from .ace_rows import AceRows
from .columns import Columns
from .nonlinear import Trained
from .preparation import Problem
from .regression import Factor
from .rows import PairRows


class Maker:
    """Makes models from weights."""

    def __init__(self, problem: Problem, columns: Sequence[Columns], summary: dict[str, Any]) -> None:
        self._baseline, self._repulsion = tuple(problem.config.baseline), problem.repulsion
        self._embedding = problem.config.embedding
        self._species, self._energies = problem.data.species, problem.energies
        self._columns, self._summary = columns, summary

    def model(self, weights: Array, members: Array | None) -> Model:
        """weights (n,), members (8, n) or None."""
        soap: list[SoapTerm] = []
        expansion: dict[str, Any] = {}
        pairs: list[Any] = list(self._baseline)
        pair_members = self._baseline_of_members()
        for column, part in self._parts():
            if isinstance(column, PairRows):
                pairs += column.interactions(weights[part])
                for own, w in zip(pair_members, members if members is not None else (), strict=False):
                    own += column.interactions(w[part])
                continue
            of_members = None
            if members is not None:
                of_members = {s: w.T.copy() for s, w in column.split(members[:, part]).items()}
            if isinstance(column, AceRows):
                split = {s: w.copy() for s, w in column.split(weights[part]).items()}
                expansion = {"hypers": column.hypers, "functions": column.functions, "weights": split, **column.mixing}
                expansion["members"] = of_members
                continue
            hypers = SoapHypers(**{name: getattr(column.hypers, name) for name in SoapHypers.model_fields})
            split = column.split(weights[part])
            basis = column.basis
            if isinstance(basis, ScaledMultispectrum):
                term = SoapTerm(hypers, None, column.points, split, of_members)
                term = replace(term, levels=basis.multispectrum.levels, scale=basis.scale)
            else:
                term = SoapTerm(hypers, basis.features, column.points, split, of_members)
            if (made := column.contraction) is not None:
                term = replace(term, **made.fields())
            soap.append(term)
        common: dict[str, Any] = {
            "species": self._species,
            "energies": self._energies,
            "pairs": tuple(pairs),
            "pair_members": None if members is None else tuple(map(tuple, pair_members)),
            "summary": self._summary,
        }
        return AceModel(**expansion, **common) if expansion else GapModel(soap=tuple(soap), **common)

    def _baseline_of_members(self) -> list[list[Any]]:
        """As many members have the repulsion of the default twice as have none of it.

        It is a guess, and nothing is known where it acts: there they differ by as much as it is.
        """
        given = [one for one in self._baseline if one not in self._repulsion]
        return [[*given, *(2 * self._repulsion if number % 2 else ())] for number in range(MEMBERS)]

    def embedded(self, column: AceRows, trained: Trained) -> AceModel:
        """The nonlinear model with trained parameters."""
        return AceModel(
            species=self._species,
            energies=self._energies,
            hypers=column.hypers,
            functions=column.functions,
            weights={s: w.copy() for s, w in column.split(trained.weights).items()},
            pairs=self._baseline,
            summary=self._summary,
            embedding=self._embedding,
            parameters=dict(zip(column.species, trained.theta, strict=True)),
            **column.mixing,
        )

    def _parts(self) -> Iterator[tuple[Columns, slice]]:
        first = 0
        for column in self._columns:
            yield column, slice(first, first + column.size)
            first += column.size


def summary_of(
    problem: Problem, factors: dict[str, list[Factor]], chosen: dict[str, float], table: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a model file says about its training, JSON-serialisable.

    Args:
        problem: What was fitted.
        factors: Of all groups, for the numbers of rows.
        chosen: Factors by which the expected errors were multiplied.
        table: Everything that the cross-validation tried.
    """
    config = problem.config
    groups = dict(Counter(one.group for one in problem.data.train))
    return {
        "made_by": f"forceserver {version('forceserver')}",
        "structures": groups,
        "rows": {quantity: sum(part.count for part in parts) for quantity, parts in factors.items()},
        "sigma": {group: config.sigma_of(group).model_dump() for group in groups},
        "solver": config.solver.model_dump(),
        "sigma_factors": chosen,
        "cross_validation": table,
        "isolated_atoms_known": sorted(problem.known),
        "descriptors": json.loads(config.model_dump_json(include={"descriptors"}))["descriptors"],
        "seed": config.seed,
    }
