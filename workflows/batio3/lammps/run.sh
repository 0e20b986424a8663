#!/bin/bash
# i-PI moves the atoms, LAMMPS computes the forces, and the bias comes
#     ./run.sh driver   [FOLDER]    from forceserver: PLUMED if its kernel is found, else the embedded engine
#     ./run.sh action [FOLDER]    from PLUMED inside i-PI, which gets its variables from forceserver
#     ./run.sh model [FOLDER]     as for driver; LAMMPS computes forceserver's model of the material, on RANKS ranks (1)
# Everything is written to FOLDER (default: run_driver, ...); the same command again goes on from its RESTART.
set -eu
way=${1:-driver}
folder=${2:-run_$way}
export OMP_NUM_THREADS=1
case $way in driver | action | model) ;; *) echo "run.sh: driver, action or model, not $way" >&2; exit 2 ;; esac
inputs=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
others=$way
if [ "$way" = model ]; then others=driver; fi
for file in "$inputs/$way"/* "$inputs/$others"/* "$inputs"/{start.extxyz,batio3.data,batio3.lmp}; do
    [ -e "$folder/${file##*/}" ] || cp "$file" "$folder"
done
cd "$folder"
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT

restart=; input=input.xml
if [ -f RESTART ] || [ -f batio3.restart ]; then restart=--restart; fi
if [ -f RESTART ]; then input=RESTART; fi
if [ "$way" = model ]; then
    [ -f forceserverplugin.so ] || forceserver lammps build
    [ -f batio3.npz ] || forceserver lammps export "$inputs/../potential/batio3.npz" -o batio3.npz
fi
if [ "$way" != action ]; then
    forceserver launch forceserver.toml $restart &
else
    [ -f ForceServer.so ] || forceserver plumed build -o ForceServer.so
    forceserver drive forceserver.toml >> forceserver.log 2>&1 &
    i-pi $input >> ipi.log 2>&1 &
fi
simulation=$!
lmp=(lmp)
if [ "${RANKS:-1}" -gt 1 ]; then lmp=(mpirun -n "$RANKS" lmp); fi

# LAMMPS does not wait for i-PI, and ends with an error when i-PI tells it to leave: it is started as long as i-PI is there.
for _ in $(seq 100); do
    kill -0 $simulation 2>/dev/null || break
    "${lmp[@]}" -in batio3.lmp -log none >> lammps.log 2>&1 || sleep 0.3
done
if kill -0 $simulation 2>/dev/null; then
    echo "run.sh: LAMMPS does not stay connected; see $folder/lammps.log" >&2
    exit 1
fi
wait $simulation
echo "results are in $folder" >&2
