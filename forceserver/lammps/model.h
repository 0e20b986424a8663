// A fitted model at work on blocks of centres, whoever found their neighbours.
//
// The formulas are those of the kernels (cython_ext/*.h), which the Python package computes with, too; the tables that they
// read are in the model's file (tables.py).
#ifndef FORCESERVER_MODEL_H
#define FORCESERVER_MODEL_H

#include "npz.h"

#include <algorithm>
#include <cmath>
#include <math.h>

namespace forceserver {

#include "ace.h"
#include "embedding.h"
#include "invariants.h"
#include "sparse_kernel.h"
#include "splined_pair.h"
#include "tile.h"

constexpr int layout_version = 1;    // LAYOUT of tables.py

/// The neighbours of one centre that are inside a cutoff, grouped by species; vectors from the centre, in Angstrom.
struct Neighbours {
  int n = 0;
  Aligned<double> x, y, z;
  Aligned<std::int32_t> kind;    // place in Model::species
  Aligned<int> atom;             // whatever the caller calls it

  void reserve(std::size_t size)
  {
    x.reserve(size);
    y.reserve(size);
    z.reserve(size);
    kind.reserve(size);
    atom.reserve(size);
  }
};

/// Work space of one thread for one block.
struct Workspace {
  std::vector<Neighbours> neighbours;    // of each centre
  Aligned<double> tile, c, g, p, dp, norm, kernel, energy, pair_gradient, phi, slopes;
};

/// One term of a model: the coefficients of the density around a centre, and an energy that depends on them.
class ModelTerm {
 protected:
  Basis basis_{};
  int n_blocks_;
  const std::int32_t *table_of_, *block_of_;
  const double *own_;
  int own_size_, own_stride_;

  int size() const { return n_blocks_ * basis_.size; }

 public:
  ModelTerm(const Npz &npz, const std::string &here, int n_species)
  {
    const std::string at = here + "basis/";
    const int n_l = npz.length(at + "layout", 1);
    const std::int32_t *layout = npz.numbers<std::int32_t>(at + "layout", 5 * n_l);
    const std::int32_t *sizes = npz.numbers<std::int32_t>(at + "sizes", 2);
    const double *grid = npz.numbers<double>(at + "grid", 3);
    basis_.n_l = n_l;
    basis_.l = layout;
    basis_.count = layout + n_l;
    basis_.padded = layout + 2 * n_l;
    basis_.radial_offset = layout + 3 * n_l;
    basis_.block_offset = layout + 4 * n_l;
    basis_.size = sizes[0];
    n_blocks_ = sizes[1];
    basis_.cutoff = grid[0];
    basis_.step = grid[1];
    basis_.inverse_step = grid[2];
    basis_.nodes = npz.numbers<double>(at + "nodes");
    basis_.n_intervals = npz.length(at + "nodes", 1) - 1;
    basis_.channels = npz.length(at + "nodes", 3);
    table_of_ = npz.numbers<std::int32_t>(at + "table_of", n_species);
    block_of_ = npz.numbers<std::int32_t>(at + "block_of", n_species);
    own_size_ = npz.length(at + "own", 1);
    own_ = npz.numbers<double>(at + "own", n_species * own_size_);
    fs_complete_basis(&basis_);
  }
  virtual ~ModelTerm() = default;

  double cutoff() const { return basis_.cutoff; }
  /// Centres that are computed together.
  virtual int block() const = 0;
  virtual bool knows(int kind) const = 0;
  /// Energies of n centres of one kind with coefficients w.c; writes dE/dc to w.g.
  virtual void energies(int kind, int n, Workspace &w) const = 0;

  virtual void prepare(Workspace &w) const
  {
    w.tile.reserve(fs_tile_size(&basis_));
    w.c.reserve(block() * size());
    w.g.reserve(block() * size());
    w.energy.reserve(block());
  }

  /// Writes the energies of n centres of one kind, with the neighbours w.neighbours, to w.energy.
  void forwards(int kind, int n, Workspace &w) const
  {
    for (int i = 0; i < n; i++) {
      double *c = w.c.data() + i * size();
      std::fill(c, c + size(), 0.0);
      std::copy(own_ + kind * own_size_, own_ + (kind + 1) * own_size_, c + block_of_[kind] * basis_.size);
      Tile tile = fs_tile_in(&basis_, w.tile.data());
      for (int first = 0; first < w.neighbours[i].n; first += FS_TILE) {
        fill(tile, w.neighbours[i], first);
        fs_add_tile(&basis_, &tile, table_of_, block_of_, c);
      }
    }
    energies(kind, n, w);
  }

  /// After `forwards`: writes dE/dr_ij for the neighbours of centre i to w.pair_gradient, four numbers each, and adds
  /// the sum of r_ij (x) dE/dr_ij to strain.
  void backwards(int i, Workspace &w, double *strain) const
  {
    const Neighbours &neighbours = w.neighbours[i];
    w.pair_gradient.reserve(4 * neighbours.n);
    Tile tile = fs_tile_in(&basis_, w.tile.data());
    for (int first = 0; first < neighbours.n; first += FS_TILE) {
      fill(tile, neighbours, first);
      fs_pull_tile(&basis_, &tile, table_of_, block_of_, w.g.data() + i * size(), w.pair_gradient.data(), strain);
    }
  }

 private:
  static void fill(Tile &tile, const Neighbours &from, int first)
  {
    tile.n = std::min<int>(FS_TILE, from.n - first);
    std::copy_n(from.x.data() + first, tile.n, tile.x);
    std::copy_n(from.y.data() + first, tile.n, tile.y);
    std::copy_n(from.z.data() + first, tile.n, tile.z);
    std::copy_n(from.kind.data() + first, tile.n, tile.kind);
    for (int k = 0; k < tile.n; k++) tile.pair[k] = first + k;
  }
};

/// A power spectrum, and kernels with its sparse points.
class KernelTerm : public ModelTerm {
  Terms spectrum_, pull_;
  int n_features_;
  bool normalise_;
  struct Points {
    bool any = false;
    SparsePoints q{};
    Aligned<double> weights, along, by_point, by_feature;
  };
  std::vector<Points> points_;

  static Terms terms(const Npz &npz, const std::string &here)
  {
    const int n = npz.length(here + "terms");
    return {n, npz.numbers<std::int32_t>(here + "terms", 4 * n), npz.numbers<std::int32_t>(here + "feature", 8 * n),
            npz.numbers<double>(here + "weight", 8 * n)};
  }

  void load(Points &points, const Npz &npz, const std::string &model, const std::string &sums, const std::string &species,
            int zeta)
  {
    const std::int64_t n = npz.length(model + "points/" + species), padded = (n + FS_POINTS - 1) / FS_POINTS * FS_POINTS;
    const double *q = npz.numbers<double>(model + "points/" + species, n * n_features_);
    points.any = true;
    points.weights.resize(padded);
    points.along.resize(padded);
    std::copy_n(npz.numbers<double>(model + "weights/" + species, n), n, points.weights.data());
    std::copy_n(npz.numbers<double>(sums + "along", n), n, points.along.data());
    points.by_point.resize(padded * n_features_);
    fs_pack_by_point(n, n_features_, q, points.by_point.data());
    points.by_feature.resize(padded * fs_columns_double(n_features_));
    fs_pack_by_feature_double(n, n_features_, q, points.by_feature.data());
    points.q.n_features = n_features_;
    points.q.n_points = padded;
    points.q.zeta = zeta;
    points.q.weight = points.weights.data();
    points.q.mean = npz.numbers<double>(sums + "mean", n_features_);
    points.q.along = points.along.data();
    points.q.sum = npz.numbers<double>(sums + "total", 1)[0];
    points.q.sums = npz.numbers<double>(sums + "sums", n_features_);
    points.q.by_point = points.by_point.data();
    points.q.by_feature = points.by_feature.data();
  }

 public:
  KernelTerm(const Npz &npz, const std::string &here, const std::string &model, const std::vector<int> &species) :
      ModelTerm(npz, here, species.size()), spectrum_(terms(npz, here + "spectrum/")), pull_(terms(npz, here + "pull/")),
      points_(species.size())
  {
    const std::int32_t *hypers = npz.numbers<std::int32_t>(here + "hypers", 3);
    n_features_ = hypers[0];
    normalise_ = hypers[1];
    for (std::size_t kind = 0; kind < species.size(); kind++) {
      const std::string name = std::to_string(species[kind]);
      if (npz.has(model + "points/" + name)) load(points_[kind], npz, model, here + "sums/" + name + "/", name, hypers[2]);
    }
  }

  int block() const override { return FS_CENTRES; }
  bool knows(int kind) const override { return points_[kind].any; }

  void prepare(Workspace &w) const override
  {
    ModelTerm::prepare(w);
    w.p.reserve(block() * n_features_);
    w.dp.reserve(block() * n_features_);
    w.norm.reserve(block());
    w.kernel.reserve(fs_work_size(n_features_));
  }

  void energies(int kind, int n, Workspace &w) const override
  {
    for (int i = 0; i < n; i++) {
      double *p = w.p.data() + i * n_features_;
      fs_spectrum(&spectrum_, w.c.data() + i * size(), p);
      if (normalise_) w.norm[i] = fs_normalise(n_features_, p);
    }
    fs_centres(&points_[kind].q, n, w.p.data(), w.energy.data(), nullptr, w.dp.data(), w.kernel.data());
    std::fill_n(w.g.data(), n * size(), 0.0);
    for (int i = 0; i < n; i++) {
      double *dp = w.dp.data() + i * n_features_;
      if (normalise_) fs_project_out(n_features_, w.p.data() + i * n_features_, w.norm[i], dp, dp);
      fs_pull_spectrum(&pull_, w.c.data() + i * size(), dp, w.g.data() + i * size());
    }
  }
};

/// Products of coefficients with separate weights for every species of centres; with an embedding, the energy is a
/// function of several such sums.
class AceTerm : public ModelTerm {
  Graph graph_{};
  std::vector<Term> terms_;
  Aligned<std::int32_t> right_;
  std::vector<const double *> weights_;
  std::vector<Embedding> embeddings_;    // of each species, or none
  int n_properties_ = 1, n_functions_;

 public:
  AceTerm(const Npz &npz, const std::string &here, const std::vector<int> &species) :
      ModelTerm(npz, here, species.size())
  {
    const std::string at = here + "products/";
    const int n_kinds = npz.length(at + "kinds"), n_dots = npz.length(at + "dots"), n_terms = npz.length(at + "places");
    const std::int32_t *dots = npz.numbers<std::int32_t>(at + "dots", 3 * n_dots);
    const std::int32_t *places = npz.numbers<std::int32_t>(at + "places", 2 * n_terms);
    const double *factors = npz.numbers<double>(at + "factors", n_terms);
    for (int k = 0; k < n_terms; k++) terms_.push_back({places[2 * k], places[2 * k + 1], factors[k]});
    right_.resize(n_dots);
    for (int k = 0; k < n_dots; k++) right_[k] = dots[3 * k + 1];
    graph_.n_components = npz.numbers<std::int32_t>(at + "components", 1)[0];
    graph_.n_channel_components = npz.length(at + "source");
    graph_.n_kinds = n_kinds;
    graph_.longest = npz.length(at + "first", 2);
    graph_.n_groups = npz.length(at + "groups");
    graph_.source = npz.numbers<std::int32_t>(at + "source");
    graph_.kinds = npz.numbers<std::int32_t>(at + "kinds", 3 * n_kinds);
    graph_.kind_first = npz.numbers<std::int32_t>(at + "kind_first", n_kinds + 1);
    graph_.couplings = npz.numbers<std::int32_t>(at + "couplings");
    graph_.first = npz.numbers<std::int32_t>(at + "first");
    graph_.groups = npz.numbers<std::int32_t>(at + "groups", 2 * graph_.n_groups);
    graph_.group_first = npz.numbers<std::int32_t>(at + "group_first", graph_.n_groups + 1);
    graph_.right = right_.data();
    graph_.terms = terms_.data();
    n_functions_ = n_dots;
    const std::int32_t *shape = nullptr;
    if (npz.has(here + "embedding/shape")) {
      shape = npz.numbers<std::int32_t>(here + "embedding/shape", 3);
      n_properties_ = shape[1];
    }
    for (const int number : species) {
      const std::string name = std::to_string(number);
      if (!npz.has(here + "weights/" + name)) {    // centres with other radial functions: they have a term of their own
        weights_.push_back(nullptr);
        embeddings_.resize(shape ? weights_.size() : 0);
        continue;
      }
      weights_.push_back(npz.numbers<double>(here + "weights/" + name, n_properties_ * n_dots));
      if (shape) embeddings_.push_back({shape[0], shape[1], shape[2], npz.numbers<double>(here + "embedding/" + name)});
    }
  }

  int block() const override { return 8; }
  bool knows(int kind) const override { return weights_[kind]; }

  void prepare(Workspace &w) const override
  {
    ModelTerm::prepare(w);
    w.kernel.reserve(fs_graph_size(&graph_));
    w.phi.reserve(n_properties_ * block());
    w.slopes.reserve(n_properties_ * block() * size());
  }

  void energies(int kind, int n, Workspace &w) const override
  {
    if (embeddings_.empty()) {
      fs_graph_energies(&graph_, n, w.c.data(), size(), weights_[kind], w.energy.data(), w.g.data(), w.kernel.data());
      return;
    }
    const int width = block() * size();
    for (int p = 0; p < n_properties_; p++)
      fs_graph_energies(&graph_, n, w.c.data(), size(), weights_[kind] + p * n_functions_, w.phi.data() + p * block(),
                        w.slopes.data() + p * width, w.kernel.data());
    std::vector<double> phi(n_properties_), slope(n_properties_);
    std::fill_n(w.g.data(), n * size(), 0.0);
    for (int i = 0; i < n; i++) {
      for (int p = 0; p < n_properties_; p++) phi[p] = w.phi[p * block() + i];
      w.energy[i] = fs_embed(&embeddings_[kind], phi.data(), slope.data());
      double *g = w.g.data() + i * size();
      for (int p = 0; p < n_properties_; p++) {
        const double *of_property = w.slopes.data() + p * width + i * size();
        for (int k = 0; k < size(); k++) g[k] += slope[p] * of_property[k];
      }
    }
  }
};

/// A model, read from its file.
class Model {
  Npz npz_;

 public:
  std::vector<int> species;    // atomic numbers, ascending
  const double *energies;      // of atoms alone, in eV
  std::vector<std::unique_ptr<ModelTerm>> terms;
  bool has_pairs = false;
  Tables pairs{};
  double cutoff = 0.0, pair_cutoff2 = 0.0;

  explicit Model(const Bytes &file) : npz_(file)
  {
    const std::string here = "lammps/";
    if (!npz_.has(here + "layout")) throw std::runtime_error("has no tables for LAMMPS yet");
    if (const int found = npz_.numbers<std::int32_t>(here + "layout", 1)[0]; found != layout_version)
      throw std::runtime_error("has tables of version " + std::to_string(found) + ", the plugin reads version " +
                               std::to_string(layout_version));
    const int n = npz_.length(here + "species");
    const std::int32_t *numbers = npz_.numbers<std::int32_t>(here + "species", n);
    species.assign(numbers, numbers + n);
    energies = npz_.numbers<double>(here + "energies", n);
    for (int k = 0; npz_.has(here + std::to_string(k) + "/basis/layout"); k++) {
      const std::string term = here + std::to_string(k) + "/";
      if (npz_.has(term + "hypers"))
        terms.push_back(std::make_unique<KernelTerm>(npz_, term, "soap" + std::to_string(k) + "/", species));
      else
        terms.push_back(std::make_unique<AceTerm>(npz_, term, species));
      cutoff = std::max(cutoff, terms.back()->cutoff());
    }
    if (npz_.has(here + "pairs/species")) read_pairs(here + "pairs/");
  }

 private:
  void read_pairs(const std::string &here)
  {
    const int n = species.size(), channels = npz_.length(here + "low");
    const std::int32_t *numbers = npz_.numbers<std::int32_t>(here + "species", n);
    if (!std::equal(species.begin(), species.end(), numbers))
      throw std::runtime_error("has pair potentials of species that the model does not have");
    has_pairs = true;
    pairs.n_kinds = n;
    pairs.shift = npz_.numbers<std::int64_t>(here + "bits", 2)[0];
    pairs.first = npz_.numbers<std::int64_t>(here + "bits", 2)[1];
    pairs.n_intervals = npz_.length(here + "coefficients", 1);
    pairs.a = npz_.numbers<double>(here + "coefficients", channels * pairs.n_intervals * 4);
    pairs.channel = npz_.numbers<std::int32_t>(here + "channel", n * n);
    pairs.low = npz_.numbers<double>(here + "low", channels);
    pairs.high = npz_.numbers<double>(here + "high", channels);
    for (int k = 0; k < channels; k++) pair_cutoff2 = std::max(pair_cutoff2, pairs.high[k]);
    cutoff = std::max(cutoff, std::sqrt(pair_cutoff2));
  }
};

}    // namespace forceserver

#endif
