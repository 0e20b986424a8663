#!/bin/bash
#SBATCH --job-name=drivers
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=2
#SBATCH --time=04:00:00
#SBATCH --output=%x-%j.log

# More drivers for a simulation that runs: they may come and go at any time, i-PI gives their beads to others.
cd "${SLURM_SUBMIT_DIR:-.}" || exit
[ -f setup.sh ] && source ./setup.sh
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
until [ -s ADDRESS ]; do sleep 5; done
read -r host port < ADDRESS
srun --kill-on-bad-exit=0 --cpus-per-task="$OMP_NUM_THREADS" \
    forceserver drive config.toml --role force --host "$host" --port "$port"
