"""Training of embeddings: a loss of energies, forces and virials, its gradient by adjoints, and its minimum.

    L = sum_s [wE^2 (E - E*)^2 + wF^2 |F - F*|^2 + wV^2 |V - V*|^2] + sum_p |S w_p|^2

Forces are derivatives of the energy, and the gradient of L needs theirs by the weights. It is that of the derivative of
the energy along one direction of all atoms (2 wF^2 (F - F*), and a strain for virials): a forward pass, its tangent,
and sums over atoms. Nothing of the size of dF/dw exists; a gradient costs a few evaluations of the forces.

Training begins at the linear fit. Weights are w = w_0 + T z with the inverse triangular factor T of the linear problem,
in which that problem is a sphere; L-BFGS (scipy) minimises in z. One of the eight groups of structures is left out, of
the linear fit, too, and training ends at the parameters that predict it best. It then goes on with all structures until
this group is met as closely as the others were (Goodfellow et al., Deep Learning (2016), algorithm 7.3).
"""

import hashlib
import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from .. import _ext
from ..errors import InputError
from ..files import atomic_write
from ..frame import Array
from ..models.embedding import Embedding
from ..npy_files import ArrayFile
from ..potentials.ace import EmbeddedKernel
from .ace_rows import AceRows, Place
from .config import FitConfig, Sigma, TrainingConfig
from .data import Labelled
from .regression import Factors, Solution, merge
from .rows import UPPER

log = logging.getLogger(__name__)

OTHERS_EV = 0.01  # root mean square of the other properties at the beginning: larger ones would spoil the linear fit
TOLD = 10  # iterations between lines of the log


@dataclass(frozen=True, eq=False)
class Structure:
    """Labels beyond atoms and baseline, their weights, and what does not change: neighbours and coefficients."""

    labels: Labelled
    sigma: Sigma
    place: Place

    @property
    def factors(self) -> tuple[float, float, float]:
        """By which errors of energy, forces and virial are multiplied."""
        root = np.sqrt(len(self.labels.frame))
        s = self.sigma
        return 1 / (s.energy_ev * root), 1 / s.force_ev_per_angstrom, 1 / (s.virial_ev * root)


Structures = Sequence[Structure]


@dataclass(eq=False)
class Errors:
    """Sums of squares of weighted errors, and of errors per atom (eV) and of forces (eV/Angstrom)."""

    loss: float = 0.0
    energy: list[float] = field(default_factory=list)
    force: list[float] = field(default_factory=list)

    def rmse(self) -> tuple[float, float]:
        """meV per atom and eV/Angstrom."""
        energy = float(np.sqrt(np.mean(np.square(self.energy)))) if self.energy else 0.0
        force = float(np.sqrt(np.mean(self.force))) if self.force else 0.0
        return 1e3 * energy, force


class Loss:
    """The loss of structures and its gradient.

    Weights are (P, n) with the n columns of `columns`; parameters theta (species, size).
    """

    def __init__(self, columns: AceRows, embedding: Embedding, structures: Sequence[Structure]) -> None:
        self.columns, self.embedding, self.structures = columns, embedding, structures

    def evaluate(self, weights: Array, theta: Array, *, gradient: bool = True) -> tuple[Errors, Array, Array]:
        """Errors, and the gradient of the loss by weights and parameters (zero unless it is wanted).

        `FloatingPointError` names a structure whose errors are not finite.
        """
        kernels = {
            s: EmbeddedKernel(self.columns.products, part, self.embedding, theta[k])
            for k, (s, part) in enumerate(self.columns.split(weights).items())
        }

        def one(structure: Structure) -> tuple:
            return self._of(structure, kernels, theta, gradient)

        threads = _ext.cpu.max_threads()
        if threads > 1:
            with ThreadPoolExecutor(threads, initializer=_ext.cpu.set_threads, initargs=(1,)) as pool:
                parts = list(pool.map(one, self.structures))
        else:
            parts = list(map(one, self.structures))
        total, by_weights, by_theta = Errors(), np.zeros_like(weights), np.zeros_like(theta)
        for loss, energy, force, of_weights, of_theta in parts:  # in one order, whatever the threads
            total.loss += loss
            total.energy += energy
            total.force += force
            if gradient:
                by_weights += of_weights
                by_theta += of_theta
        return total, by_weights, by_theta

    def _of(self, structure: Structure, kernels: Mapping[int, EmbeddedKernel], theta: Array, gradient: bool) -> tuple:
        labels, place, columns = structure.labels, structure.place, self.columns
        c = place.coefficients
        parts, energy, slope = {}, 0.0, np.zeros_like(c)
        for k, (species, kernel) in enumerate(kernels.items()):
            mine = place.centres[species]
            if len(mine):
                phi, slopes = kernel.properties(c[mine])
                value, of_properties = self.embedding.evaluate(phi, theta[k])
                energy += value.sum()
                slope[mine] = np.einsum("np,pnf->nf", of_properties, slopes)
                parts[species] = (k, mine, phi, slopes, of_properties)
        forces, virial = place.vjp(slope)
        by_energy, by_force, by_virial = structure.factors
        loss, of_energy, of_force = 0.0, [], []
        push, moves, strain = 0.0, np.zeros_like(forces), np.zeros((3, 3))
        if labels.energy is not None:
            error = energy - labels.energy
            loss += (by_energy * error) ** 2
            push = 2 * by_energy**2 * error
            of_energy = [error / len(c)]
        if labels.forces is not None:
            off = forces - labels.forces
            loss += by_force**2 * (off**2).sum()
            moves = 2 * by_force**2 * off
            of_force = (off**2).ravel().tolist()
        if labels.virial is not None:
            stretch = (virial - labels.virial).ravel()[UPPER]
            loss += by_virial**2 * (stretch**2).sum()
            strain.ravel()[UPPER] = 2 * by_virial**2 * stretch
        if not np.isfinite(loss):
            raise FloatingPointError(labels.name)
        if not gradient:
            return loss, of_energy, of_force, None, None
        moved = place.moved(moves, strain)
        by_weights, by_theta = np.zeros((self.embedding.n_properties, columns.size)), np.zeros_like(theta)
        for species, (k, mine, phi, slopes, of_properties) in parts.items():
            along = np.einsum("pnf,nf->np", slopes, moved[mine])
            in_phi, by_theta[k] = self.embedding.pull(phi, theta[k], np.full(len(mine), push), -along)
            by_weights[:, columns.part_of(species)] = columns.products.combine(
                c[mine], moved[mine], in_phi.T, -of_properties.T
            )
        return loss, of_energy, of_force, by_weights, by_theta


@dataclass(eq=False)
class Trained:
    """weights (P, n), parameters (species, size); history: (iteration, training loss, errors of both sets) of all."""

    weights: Array
    theta: Array
    history: list[dict[str, float]]


class Training:
    """The minimisation, which can be interrupted.

    structures: to train on; judges: those whose loss decides which parameters are the best.
    start: weights (P, n) and parameters (species, size). factor: R (n, n) of the rows of the linear fit with the
        regulariser, prior: S (n, n). until: loss of the judges at which training ends.
    """

    def __init__(
        self,
        columns: AceRows,
        embedding: Embedding,
        structures: Sequence[Structure],
        judges: Sequence[Structure],
        start: tuple[Array, Array],
        factor: Array,
        prior: Array,
        config: TrainingConfig,
        until: float = 0.0,
    ) -> None:
        self._config, self._until = config, until
        self._loss = Loss(columns, embedding, structures)
        self._validation = Loss(columns, embedding, judges)
        self._factor, self._prior = factor, prior
        self._first, self._theta = start
        self._history: list[dict[str, float]] = []
        self._seen: tuple[Array, Errors] | None = None
        self._best: tuple[float, Array] = (np.inf, np.zeros(self._first.size + self._theta.size))

    def _parameters(self, z: Array) -> tuple[Array, Array]:
        inner = z[: self._first.size].reshape(self._first.shape)
        return self._first + solve_triangular(self._factor, inner.T).T, self._theta + z[self._first.size :].reshape(
            self._theta.shape
        )

    def loss(self, z: Array) -> tuple[float, Array]:
        """The loss with its ridge, and the gradient, in the coordinates z of the minimisation."""
        weights, theta = self._parameters(z)
        errors, by_weights, by_theta = self._loss.evaluate(weights, theta)
        self._seen = z.copy(), errors
        held = weights @ self._prior.T
        by_weights = by_weights + 2 * held @ self._prior
        inner = solve_triangular(self._factor, by_weights.T, trans="T").T
        return errors.loss + float((held**2).sum()), np.concatenate([inner.ravel(), by_theta.ravel()])

    def run(self, checkpoint: Path, fingerprint: str) -> Trained:
        """The best parameters. What is done is kept in `checkpoint`."""
        z = self._resume(checkpoint, fingerprint)
        self._z = z
        if not self._history:
            self._note(z)

        def after(z: Array) -> None:
            self._z = z.copy()
            self._note(z)
            self._keep(checkpoint, fingerprint)
            if self._best[0] <= self._until or len(self._history) - self._best_at() > self._config.patience:
                raise StopIteration

        try:
            minimize(
                self.loss, z, jac=True, method="L-BFGS-B", callback=after,
                options={"maxiter": max(0, self._config.iterations + 1 - len(self._history)), "maxcor": 30},
            )  # fmt: skip
        except FloatingPointError as error:
            log.warning("training ends: the loss of %s is not finite; the best parameters so far are kept", error)
        weights, theta = self._parameters(self._best[1])
        return Trained(weights, theta, self._history)

    def _best_at(self) -> int:
        return 1 + min(range(len(self._history)), key=lambda k: self._history[k]["validation_loss"])

    def _note(self, z: Array) -> None:
        """Errors of this iteration, and whether it is the best."""
        weights, theta = self._parameters(z)
        if self._seen is not None and np.array_equal(self._seen[0], z):
            train = self._seen[1]
        else:
            train = self._loss.evaluate(weights, theta, gradient=False)[0]
        left_out = self._validation.evaluate(weights, theta, gradient=False)[0]
        said = {"loss": train.loss, "validation_loss": left_out.loss}
        for name, errors in (("", train), ("validation_", left_out)):
            said[f"{name}energy_mev"], said[f"{name}force_ev_per_angstrom"] = errors.rmse()
        self._history.append(said)
        if left_out.loss < self._best[0]:
            self._best = (left_out.loss, z.copy())
        if len(self._history) % TOLD == 1:
            log.info(
                "training %d: %.3f meV/atom, %.4f eV/Angstrom; one group: %.3f, %.4f",
                len(self._history) - 1,
                *train.rmse(),
                *left_out.rmse(),
            )

    def _keep(self, path: Path, fingerprint: str) -> None:
        names = list(self._history[0])
        history = np.array([[entry[name] for name in names] for entry in self._history])
        with atomic_write(path) as part, open(part, "wb") as file:
            np.savez(
                file, fingerprint=fingerprint, z=self._z, best=self._best[1], best_loss=self._best[0],
                names=names, history=history,
            )  # fmt: skip

    def _resume(self, path: Path, fingerprint: str) -> Array:
        start = np.zeros(self._first.size + self._theta.size)
        if not path.exists():
            return start
        try:
            with ArrayFile(path) as file:
                if str(file.read("fingerprint")) != fingerprint or file.claims["z"].shape != start.shape:
                    return start
                self._best = (float(file.read("best_loss")), file.read("best"))
                names = file.read("names").tolist()
                self._history = [dict(zip(names, row, strict=True)) for row in file.read("history").tolist()]
                start = file.read("z")
        except (OSError, ValueError, KeyError) as error:
            log.warning("%s: cannot be read, training begins anew: %s", path, error)
            return start
        log.info("%s: training goes on after %d iterations", path, len(self._history) - 1)
        return start


def beginning(
    columns: AceRows, embedding: Embedding, structures: Structures, linear: Array, factor: Array, seed: int
) -> tuple[Array, Array]:
    """Weights (P, n) and parameters (species, size) of which F is the linear fit, nearly: other properties are small.

    linear: weights (n,) of the linear fit. factor: R (n, n) of its rows with the regulariser.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((embedding.n_properties, columns.size))
    for p in range(1, embedding.n_properties):
        weights[p] = _small_property(rng, columns, structures, factor)
    theta = np.array([embedding.start(rng) for _ in columns.species])
    for own, species in zip(theta, columns.species, strict=True):
        part = columns.part_of(species)
        slope = embedding.evaluate(np.zeros((1, embedding.n_properties)), own)[1][0]
        weights[0, part] = (linear[part] - slope[1:] @ weights[1:, part]) / slope[0]
    return weights, theta


def _small_property(rng: np.random.Generator, columns: AceRows, structures: Structures, factor: Array) -> Array:
    """Weights of a random property of the size `OTHERS_EV`, as smooth as the linear fit is."""
    weights = solve_triangular(factor, rng.normal(size=columns.size))
    squares, count = 0.0, 0
    for structure in structures[:: max(1, len(structures) // 20)]:
        for species, part in columns.split(weights).items():
            values = columns.products.values(structure.place.coefficients[structure.place.centres[species]]) @ part
            squares, count = squares + (values**2).sum(), count + len(values)
    return OTHERS_EV * weights / max(np.sqrt(squares / max(count, 1)), 1e-300)


def train(
    columns: AceRows,
    data: Sequence[Labelled],
    config: FitConfig,
    factors: Factors,
    chosen: Mapping[str, float],
    prior: Array,
    solution: Solution,
    groups: Sequence[Sequence[int]],
    folder: Path,
) -> Trained:
    """Trains the embedding of a configuration: without the last group, then with all.

    chosen: factors of the sigmas.

    `InputError` for a single structure. What is done is kept in the folder, for a fit that is interrupted.
    """
    if solution.left_out is None:
        raise InputError("embedding: two training structures are needed at least, of which one ends the training")
    embedding = config.embedding
    assert embedding is not None

    def placed(numbers: Iterable[int]) -> Structures:
        some = [data[k] for k in sorted(numbers)]
        return [Structure(one, _scaled(config.sigma_of(one.group), chosen), columns.place(one.frame)) for one in some]

    def factor_of(count: int) -> Any:
        parts = [part.r / chosen.get(name, 1.0) for name, of_groups in factors.items() for part in of_groups[:count]]
        return np.linalg.qr(np.concatenate([merge(parts)[:-1, :-1], prior]), mode="r")

    def named(what: str, start: tuple[Array, Array]) -> tuple[Path, str]:
        digest = hashlib.sha256(embedding.model_dump_json().encode() + start[0].tobytes())
        return folder / f"{what}.npz", digest.hexdigest()

    own, judges, count = placed(itertools.chain(*groups[:-1])), placed(groups[-1]), len(groups)
    factor = factor_of(count - 1)
    start = beginning(columns, embedding, own, solution.left_out[-1], factor, config.seed)
    training = Training(columns, embedding, own, judges, start, factor, prior, config.training)
    first = training.run(*named("training", start))
    best = min(first.history, key=lambda entry: entry["validation_loss"])
    log.info("training goes on with all structures, for %d iterations at most", config.training.patience)
    start, until = (first.weights, first.theta), best["loss"] / len(own) * len(judges)
    rest = config.training.model_copy(update={"iterations": config.training.patience})
    training = Training(columns, embedding, [*own, *judges], judges, start, factor_of(count), prior, rest, until)
    last = training.run(*named("training_all", start))
    return Trained(last.weights, last.theta, first.history)


def _scaled(sigma: Sigma, chosen: Mapping[str, float]) -> Sigma:
    """Expected errors times their factors."""
    return Sigma(
        energy_ev=sigma.energy_ev * chosen.get("energy", 1.0),
        force_ev_per_angstrom=sigma.force_ev_per_angstrom * chosen.get("forces", 1.0),
        virial_ev=sigma.virial_ev * chosen.get("virial", 1.0),
    )
