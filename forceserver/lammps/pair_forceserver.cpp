// The pair style `forceserver` of LAMMPS: models of forceserver, with domain decomposition.
//
//   plugin load forceserverplugin.so                (`forceserver lammps build` compiles this file)
//   pair_style forceserver
//   pair_coeff * * model.npz Ba Ti O                (after `forceserver lammps export model.npz`)
//
// Theory of operation. The energy is a sum over atoms: each rank computes the atoms that it owns, from a full neighbour
// list with ghosts. The atoms are processed in blocks of one species, and each block goes through all steps of the
// model (model.h) before the next. A block needs memory for its own coefficients only, so memory hardly grows with the
// number of atoms. The results are pair forces dE_i/dr_ij, which act on both atoms. Forces on ghosts are sent to their
// owners: by LAMMPS itself with newton on, by a communication of our own with newton off. The virial is summed over the
// pairs; the virial of an atom is the strain derivative of its own energy.
//
// Threads process blocks in turn and sum forces in separate arrays, so their number changes results only by rounding.

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "lammps.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "pair.h"
#include "update.h"
#include "utils.h"

#include "model.h"

#include <cstdio>
#include <string>
#include <vector>

#ifdef _OPENMP
#  include <omp.h>
#endif

#ifndef FORCESERVER_LAMMPS_VERSION
#  error "FORCESERVER_LAMMPS_VERSION must be the version of the LAMMPS of these headers, such as 20250722"
#endif

namespace LAMMPS_NS {

using namespace forceserver;

static const char *const symbols[] = {
    "X",  "H",  "He", "Li", "Be", "B",  "C",  "N",  "O",  "F",  "Ne", "Na", "Mg", "Al", "Si", "P",  "S",
    "Cl", "Ar", "K",  "Ca", "Sc", "Ti", "V",  "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Ga", "Ge", "As",
    "Se", "Br", "Kr", "Rb", "Sr", "Y",  "Zr", "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn",
    "Sb", "Te", "I",  "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho",
    "Er", "Tm", "Yb", "Lu", "Hf", "Ta", "W",  "Re", "Os", "Ir", "Pt", "Au", "Hg", "Tl", "Pb", "Bi", "Po",
    "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U",  "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm", "Md",
    "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds", "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og"};

static constexpr bigint largest = bigint(1) << 40;    // bytes of a model

class PairForceServer : public Pair {
 public:
  explicit PairForceServer(class LAMMPS *lmp) : Pair(lmp)
  {
    restartinfo = 1;
    one_coeff = 1;
    manybody_flag = 1;
    no_virial_fdotr_compute = 1;
    centroidstressflag = CENTROID_AVAIL;
    comm_reverse_off = 3;
  }

  ~PairForceServer() override
  {
    if (copymode || !allocated) return;
    memory->destroy(setflag);
    memory->destroy(cutsq);
  }

  void settings(int narg, char **) override
  {
    if (narg > 0) error->all(FLERR, "pair_style forceserver takes no arguments: the model comes with pair_coeff");
  }

  void coeff(int narg, char **arg) override;
  void init_style() override;
  double init_one(int, int) override { return model_->cutoff; }
  void compute(int eflag, int vflag) override;
  void write_restart(FILE *file) override;
  void read_restart(FILE *file) override;

  int pack_reverse_comm(int n, int first, double *buffer) override
  {
    std::copy_n(own_.data() + 3 * first, 3 * n, buffer);
    return 3 * n;
  }

  void unpack_reverse_comm(int n, int *list, double *buffer) override
  {
    for (int k = 0; k < n; k++)
      for (int a = 0; a < 3; a++) own_[3 * list[k] + a] += buffer[3 * k + a];
  }

  double memory_usage() override
  {
    double numbers = own_.capacity();
    for (const Thread &thread : threads_) numbers += thread.forces.capacity();
    return Pair::memory_usage() + numbers * sizeof(double);
  }

 private:
  struct Block {
    int kind, first, n;    // a range of centres of one kind
  };
  struct Thread {
    Workspace work;
    Neighbours found;    // the neighbours of one centre, not yet grouped
    std::vector<double> forces;
    double energy, virial[6];
    int too_close[2];
  };

  std::unique_ptr<Model> model_;
  std::string path_;
  std::vector<std::string> names_;    // species of the types, from 1 on, as given
  std::vector<int> kind_of_;          // type -> index into the species of the model, or -1
  std::vector<std::vector<int>> centres_;
  std::vector<Block> blocks_;
  std::vector<Thread> threads_;
  std::vector<double> own_;    // forces on owned atoms and ghosts with newton off

  void load();
  Bytes read(const std::string &path);
  void collect_centres();
  void run(Thread &thread, double *forces, const Block &block);
  void gather(Thread &thread, int centre, double cutoff, Neighbours &to);
  void add_pairs(Thread &thread, double *forces, int centre, int kind);
  void scatter(Thread &thread, double *forces, int centre, const Neighbours &neighbours, const double *strain);
  void add_virial(Thread &thread, int centre, const double *strain);
};

// ---- commands ----

void PairForceServer::coeff(int narg, char **arg)
{
  if (narg != 3 + atom->ntypes || std::string(arg[0]) != "*" || std::string(arg[1]) != "*")
    error->all(FLERR, "pair_coeff of forceserver must be: pair_coeff * * model.npz, then a chemical symbol (or NULL) for "
                      "each of the {} atom types", atom->ntypes);
  path_ = arg[2];
  names_.assign(arg + 3, arg + narg);
  load();
}

Bytes PairForceServer::read(const std::string &path)
{
  bigint size = -1;
  Bytes bytes;
  if (comm->me == 0) {
    if (FILE *file = std::fopen(path.c_str(), "rb")) {
      std::fseek(file, 0, SEEK_END);
      size = std::ftell(file);
      std::rewind(file);
      if (size < 0 || size > largest) size = 0;    // a folder
      bytes.resize(size);
      if (size == 0 || std::fread(bytes.data(), 1, bytes.size(), file) != bytes.size()) size = -1;
      std::fclose(file);
    }
  }
  MPI_Bcast(&size, 1, MPI_LMP_BIGINT, 0, world);
  if (size < 0) error->all(FLERR, "cannot read the model {}", path);
  bytes.resize(size);
  for (bigint done = 0; done < size; done += 1 << 30)
    MPI_Bcast(bytes.data() + done, static_cast<int>(std::min<bigint>(size - done, 1 << 30)), MPI_CHAR, 0, world);
  return bytes;
}

void PairForceServer::load()
{
  const int n = atom->ntypes;
  try {
    model_ = std::make_unique<Model>(read(path_));
  } catch (const std::runtime_error &failure) {
    error->all(FLERR, "the model {} {}: forceserver lammps export {}", path_, failure.what(), path_);
  }
  std::string known;
  for (const int number : model_->species) known += std::string(known.empty() ? "" : ", ") + symbols[number];
  kind_of_.assign(n + 1, -1);
  for (int type = 1; type <= n; type++) {
    const std::string &name = names_[type - 1];
    if (name == "NULL") continue;
    for (std::size_t kind = 0; kind < model_->species.size(); kind++)
      if (name == symbols[model_->species[kind]]) kind_of_[type] = kind;
    if (kind_of_[type] < 0)
      error->all(FLERR, "the model {} knows {} only, pair_coeff names {} for atom type {}", path_, known, name, type);
  }
  if (!allocated) {
    memory->create(setflag, n + 1, n + 1, "pair:setflag");
    memory->create(cutsq, n + 1, n + 1, "pair:cutsq");
    allocated = 1;
  }
  for (int i = 1; i <= n; i++)
    for (int j = 1; j <= n; j++) setflag[i][j] = kind_of_[i] >= 0 && kind_of_[j] >= 0 ? 1 : 0;
  threads_.clear();
}

void PairForceServer::init_style()
{
  if (std::string(update->unit_style) != "metal")
    error->all(FLERR, "pair_style forceserver computes in eV and Angstrom: use units metal, not units {}",
               update->unit_style);
  if (atom->nbonds > 0 && (force->special_lj[1] != 1.0 || force->special_lj[2] != 1.0 || force->special_lj[3] != 1.0))
    error->all(FLERR, "pair_style forceserver needs bonded atoms as neighbours, too: special_bonds lj 1 1 1");
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

void PairForceServer::write_restart(FILE *file)
{
  std::string text = path_;
  for (const std::string &name : names_) text += "\n" + name;
  const int length = text.size();
  std::fwrite(&length, sizeof(int), 1, file);
  std::fwrite(text.data(), 1, length, file);
}

void PairForceServer::read_restart(FILE *file)
{
  int length = 0;
  if (comm->me == 0) utils::sfread(FLERR, &length, sizeof(int), 1, file, nullptr, error);
  MPI_Bcast(&length, 1, MPI_INT, 0, world);
  std::string text(length, ' ');
  if (comm->me == 0) utils::sfread(FLERR, &text[0], 1, length, file, nullptr, error);
  MPI_Bcast(&text[0], length, MPI_CHAR, 0, world);
  names_.clear();
  std::size_t start = text.find('\n');
  path_ = text.substr(0, start);
  while (start != std::string::npos) {
    const std::size_t end = text.find('\n', start + 1);
    names_.push_back(text.substr(start + 1, end == std::string::npos ? end : end - start - 1));
    start = end;
  }
  load();
}

// ---- energies and forces ----

void PairForceServer::collect_centres()
{
  const int kinds = model_->species.size(), size = model_->terms.empty() ? 1024 : model_->terms[0]->block();
  centres_.resize(kinds);
  for (auto &centres : centres_) centres.clear();
  for (int k = 0; k < list->inum; k++)
    if (const int kind = kind_of_[atom->type[list->ilist[k]]]; kind >= 0) centres_[kind].push_back(list->ilist[k]);
  blocks_.clear();
  for (int kind = 0; kind < kinds; kind++)
    for (int first = 0; first < static_cast<int>(centres_[kind].size()); first += size)
      blocks_.push_back({kind, first, std::min<int>(size, centres_[kind].size() - first)});
}

void PairForceServer::compute(int eflag, int vflag)
{
  ev_init(eflag, vflag);
  const int all = atom->nlocal + atom->nghost, newton = force->newton_pair;
  if (cvflag_atom && !newton)
    error->all(FLERR, "pair_style forceserver sums centroid stresses with newton on only: newton on");
  collect_centres();
  threads_.resize(cvflag_atom ? 1 : std::max(1, comm->nthreads));    // centroid stresses have no separate arrays
  if (!newton) own_.assign(3 * static_cast<std::size_t>(all), 0.0);
  double *forces = newton ? (all ? atom->f[0] : nullptr) : own_.data();

#ifdef _OPENMP
#  pragma omp parallel for num_threads(static_cast<int>(threads_.size())) schedule(static, 1)
#endif
  for (int t = 0; t < static_cast<int>(threads_.size()); t++) {
    Thread &thread = threads_[t];
    thread.energy = 0.0;
    std::fill_n(thread.virial, 6, 0.0);
    thread.too_close[0] = -1;
    for (const auto &term : model_->terms) term->prepare(thread.work);
    if (t > 0) thread.forces.assign(3 * static_cast<std::size_t>(all), 0.0);
    double *mine = t > 0 ? thread.forces.data() : forces;
    for (std::size_t k = t; k < blocks_.size(); k += threads_.size()) run(thread, mine, blocks_[k]);
  }

  for (std::size_t t = 0; t < threads_.size(); t++) {
    const Thread &thread = threads_[t];
    if (const int i = thread.too_close[0], j = thread.too_close[1]; i >= 0)
      error->one(FLERR, "atoms {} and {} are closer than the model {} can compute", atom->tag[i], atom->tag[j], path_);
    if (t > 0)
      for (int k = 0; k < 3 * all; k++) forces[k] += thread.forces[k];
    if (eflag_global) eng_vdwl += thread.energy;
    if (vflag_global)
      for (int k = 0; k < 6; k++) virial[k] += thread.virial[k];
  }
  if (!newton) {
    comm->reverse_comm(this);
    for (int i = 0; i < atom->nlocal; i++)
      for (int a = 0; a < 3; a++) atom->f[i][a] += own_[3 * i + a];
  }
}

void PairForceServer::run(Thread &thread, double *forces, const Block &block)
{
  Workspace &work = thread.work;
  const int *centres = centres_[block.kind].data() + block.first;
  if (static_cast<int>(work.neighbours.size()) < block.n) work.neighbours.resize(block.n);
  for (int k = 0; k < block.n; k++) {
    thread.energy += model_->energies[block.kind];
    if (eflag_atom) eatom[centres[k]] += model_->energies[block.kind];
    if (model_->has_pairs) add_pairs(thread, forces, centres[k], block.kind);
  }
  for (const auto &term : model_->terms) {
    if (!term->knows(block.kind)) continue;
    for (int k = 0; k < block.n; k++) gather(thread, centres[k], term->cutoff(), work.neighbours[k]);
    term->forwards(block.kind, block.n, work);
    for (int k = 0; k < block.n; k++) {
      double strain[9] = {0};
      term->backwards(k, work, strain);
      scatter(thread, forces, centres[k], work.neighbours[k], strain);
      thread.energy += work.energy[k];
      if (eflag_atom) eatom[centres[k]] += work.energy[k];
    }
  }
}

/// Finds the neighbours of a centre within a cutoff, grouped by species.
void PairForceServer::gather(Thread &thread, int centre, double cutoff, Neighbours &to)
{
  Neighbours &found = thread.found;
  const int n = list->numneigh[centre], *neighbours = list->firstneigh[centre];
  const double *const x = atom->x[0], *const a = x + 3 * static_cast<std::size_t>(centre);
  const double limit = cutoff * cutoff;
  std::vector<int> begin(model_->species.size() + 1, 0);
  found.reserve(n + 1);
  found.n = 0;
  for (int k = 0; k < n; k++) {
    const int j = neighbours[k] & NEIGHMASK, kind = kind_of_[atom->type[j]];
    const double *b = x + 3 * static_cast<std::size_t>(j);
    const double dx = b[0] - a[0], dy = b[1] - a[1], dz = b[2] - a[2], r2 = dx * dx + dy * dy + dz * dz;
    if (!(r2 < limit) || kind < 0) continue;
    if (r2 < 1e-16) {    // directions are not defined
      thread.too_close[0] = centre;
      thread.too_close[1] = j;
      continue;
    }
    found.x[found.n] = dx;
    found.y[found.n] = dy;
    found.z[found.n] = dz;
    found.kind[found.n] = kind;
    found.atom[found.n++] = j;
    begin[kind + 1]++;
  }
  for (std::size_t kind = 1; kind < begin.size(); kind++) begin[kind] += begin[kind - 1];
  to.reserve(n + 1);
  to.n = found.n;
  for (int k = 0; k < found.n; k++) {
    const int place = begin[found.kind[k]]++;
    to.x[place] = found.x[k];
    to.y[place] = found.y[k];
    to.z[place] = found.z[k];
    to.kind[place] = found.kind[k];
    to.atom[place] = found.atom[k];
  }
}

/// Adds half of the energy of each pair of a centre, and the whole force on the centre; the neighbour adds the rest.
void PairForceServer::add_pairs(Thread &thread, double *forces, int centre, int kind)
{
  const double *const a = atom->x[centre];
  double total = 0.0, strain[9] = {0};
  for (int k = 0; k < list->numneigh[centre]; k++) {
    const int j = list->firstneigh[centre][k] & NEIGHMASK, other = kind_of_[atom->type[j]];
    const double r[3] = {atom->x[j][0] - a[0], atom->x[j][1] - a[1], atom->x[j][2] - a[2]};
    const double u = r[0] * r[0] + r[1] * r[1] + r[2] * r[2];
    if (u >= model_->pair_cutoff2 || other < 0) continue;
    double energy, slope;
    const int found = fs_pair(&model_->pairs, kind, other, u, &energy, &slope);
    if (found == FS_TOO_CLOSE) {
      thread.too_close[0] = centre;
      thread.too_close[1] = j;
    }
    if (found != FS_PAIR) continue;
    total += 0.5 * energy;
    for (int p = 0; p < 3; p++) {
      forces[3 * centre + p] -= slope * r[p];
      for (int q = 0; q < 3; q++) strain[3 * p + q] -= 0.5 * slope * r[p] * r[q];
    }
  }
  thread.energy += total;
  if (eflag_atom) eatom[centre] += total;
  if (vflag_either) add_virial(thread, centre, strain);
  static const int place[9] = {0, 4, 8, 1, 2, 5, 3, 6, 7};
  if (cvflag_atom)
    for (int k = 0; k < 9; k++) cvatom[centre][k] -= strain[place[k]];
}

void PairForceServer::scatter(Thread &thread, double *forces, int centre, const Neighbours &neighbours, const double *strain)
{
  double sum[3] = {0};
  for (int k = 0; k < neighbours.n; k++) {
    const double *gradient = thread.work.pair_gradient.data() + 4 * k;
    double *f = forces + 3 * static_cast<std::size_t>(neighbours.atom[k]);
    for (int a = 0; a < 3; a++) {
      f[a] -= gradient[a];
      sum[a] += gradient[a];
    }
    if (cvflag_atom) {    // the energy is located at the centre, so the neighbour has all of the stress
      const double r[3] = {neighbours.x[k], neighbours.y[k], neighbours.z[k]};
      static const int row[9] = {0, 1, 2, 0, 0, 1, 1, 2, 2}, column[9] = {0, 1, 2, 1, 2, 2, 0, 0, 1};
      for (int c = 0; c < 9; c++) cvatom[neighbours.atom[k]][c] -= r[row[c]] * gradient[column[c]];
    }
  }
  for (int a = 0; a < 3; a++) forces[3 * static_cast<std::size_t>(centre) + a] += sum[a];
  if (vflag_either) add_virial(thread, centre, strain);
}

/// strain: the strain derivative of the energy of a centre.
void PairForceServer::add_virial(Thread &thread, int centre, const double *strain)
{
  static const int place[6] = {0, 4, 8, 1, 2, 5};
  for (int k = 0; k < 6; k++) {
    thread.virial[k] -= strain[place[k]];
    if (vflag_atom) vatom[centre][k] -= strain[place[k]];
  }
}

}    // namespace LAMMPS_NS

// ---- the plugin ----

namespace {

/// The registration that LAMMPS's plugin loader expects, in its layout, with zeros for fields that later versions may
/// add.
struct Registration {
  const char *version, *style, *name, *info, *author;
  void *(*creator)(void *);
  void *handle;
  void *later[8];
};

void *create(void *lammps)
{
  return static_cast<LAMMPS_NS::Pair *>(new LAMMPS_NS::PairForceServer(static_cast<LAMMPS_NS::LAMMPS *>(lammps)));
}

bool processor_suits()
{
#if defined(__x86_64__) && defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f");
#elif defined(__x86_64__) && defined(__AVX2__)
  return __builtin_cpu_supports("avx2");
#else
  return true;
#endif
}

}    // namespace

extern "C" void lammpsplugin_init(void *lammps, void *handle, void *registrar)
{
  auto *lmp = static_cast<LAMMPS_NS::LAMMPS *>(lammps);
  if (lmp->num_ver != FORCESERVER_LAMMPS_VERSION)
    lmp->error->all(FLERR, "this plugin was built for LAMMPS {}, and this is LAMMPS {}: forceserver lammps build",
                    FORCESERVER_LAMMPS_VERSION, lmp->num_ver);
  if (!processor_suits())
    lmp->error->all(FLERR, "this plugin was built for a processor with more instructions: forceserver lammps build --march "
                           "x86-64-v3 (or less)");
  Registration plugin = {lmp->version, "pair", "forceserver", "pair style forceserver", "forceserver", create, handle, {}};
  reinterpret_cast<void (*)(Registration *, void *)>(registrar)(&plugin, lammps);
}
