// The PACE evaluators of ICAMS (lammps-user-pace) as C functions: atoms with neighbour lists in, energies, forces out.
// clients/pace.py compiles this with their sources; none of them is here.
#include <cstdio>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "ace-evaluator/ace_c_basis.h"
#include "ace-evaluator/ace_evaluator.h"
#include "ace-evaluator/ace_recursive.h"

struct Peer {
    ACECTildeBasisSet basis;
    std::unique_ptr<ACEEvaluator> evaluator;
};

static double cpu_seconds() {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

extern "C" {

// Null if the file cannot be read. recursive: as in pair_style pace recursive, otherwise product.
void *pace_load(const char *file, int recursive) {
    try {
        auto peer = std::make_unique<Peer>();
        peer->basis = ACECTildeBasisSet(std::string(file));
        if (recursive) {
            auto evaluator = std::make_unique<ACERecursiveEvaluator>();
            evaluator->set_recursive(true);
            evaluator->set_basis(peer->basis, 1);
            peer->evaluator = std::move(evaluator);
        } else {
            auto evaluator = std::make_unique<ACECTildeEvaluator>();
            evaluator->set_basis(peer->basis);
            peer->evaluator = std::move(evaluator);
        }
        auto &types = peer->evaluator->element_type_mapping;
        types.init(peer->basis.nelements);
        for (int k = 0; k < peer->basis.nelements; k++) types(k) = k;
        return peer.release();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "%s: %s\n", file, error.what());
        return nullptr;
    }
}

void pace_close(void *handle) { delete static_cast<Peer *>(handle); }

double pace_cutoff(void *handle) { return static_cast<Peer *>(handle)->basis.cutoffmax; }

// Symbols, separated by spaces.
void pace_elements(void *handle, char *text, int size) {
    auto &basis = static_cast<Peer *>(handle)->basis;
    std::string found;
    for (int k = 0; k < basis.nelements; k++) found += basis.elements_name[k] + " ";
    std::snprintf(text, size, "%s", found.c_str());
}

// x (n_all, 3) and type (n_all): n atoms, then images. neighbours of atom i: list[first[i]] .. list[first[i + 1] - 1].
// energies (n), forces (n_all, 3), virial (9): minus the derivative by strain. Returns the CPU seconds.
double pace_compute(void *handle, int n, int n_all, double *x, int *type, const int *first, int *list,
                    double *energies, double *forces, double *virial) {
    auto &evaluator = *static_cast<Peer *>(handle)->evaluator;
    std::vector<double *> rows(n_all);
    for (int i = 0; i < n_all; i++) rows[i] = x + 3 * i;
    int most = 0;
    for (int i = 0; i < n; i++) most = std::max(most, first[i + 1] - first[i]);
    evaluator.resize_neighbours_cache(most);
    std::memset(forces, 0, 3 * n_all * sizeof(double));
    std::memset(virial, 0, 9 * sizeof(double));
    const double begin = cpu_seconds();
    for (int i = 0; i < n; i++) {
        evaluator.compute_atom(i, rows.data(), type, first[i + 1] - first[i], list + first[i]);
        energies[i] = evaluator.e_atom;
        for (int k = 0; k < first[i + 1] - first[i]; k++) {
            const int j = list[first[i] + k];
            for (int a = 0; a < 3; a++) {
                const double force = evaluator.neighbours_forces(k, a);
                forces[3 * i + a] += force;
                forces[3 * j + a] -= force;
                for (int b = 0; b < 3; b++) virial[3 * a + b] -= force * (x[3 * j + b] - x[3 * i + b]);
            }
        }
    }
    return cpu_seconds() - begin;
}
}
