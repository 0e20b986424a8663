#!/bin/bash
#SBATCH --job-name=batio3
#SBATCH --nodes=2
#SBATCH --ntasks=4                  # drivers, two a node
#SBATCH --cpus-per-task=2           # threads of a driver
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180         # three minutes before the end: i-PI stops, and the next job goes on
#SBATCH --output=%x-%j.log

# Path-integral metadynamics on several nodes. i-PI and a first driver, which also makes the bias, run on the first node;
# drivers on all nodes connect to it over TCP. A job that runs out of time is followed by one that goes on from RESTART.
#
#     sbatch job.sh
#
# Change the lines above rather than giving options to sbatch: the jobs that follow read them, too. MAX_JOBS is the longest
# chain (20). What a site needs (module load, source .venv/bin/activate) belongs in a file setup.sh.
set -u
cd "${SLURM_SUBMIT_DIR:-.}" || exit
[ -f setup.sh ] && source ./setup.sh
link=${LINK:-1}
port=${PORT:-31415}                 # i-PI's; the bias has the next one. A simulation needs ports of its own
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

restart=()                          # from RESTART, or from a checkpoint after a job that was killed
compgen -G 'out.checkpoint*' > /dev/null || [ -f RESTART ] && restart=(--restart)

owner=$(sed -n 's/.*"job": "\([0-9]*\)".*/\1/p' launch.lock 2>/dev/null)
if [ -n "$owner" ] && jobs=$(squeue --noheader --format=%A) && ! grep -qx "$owner" <<< "$jobs"; then
    rm launch.lock                  # of a job that Slurm knows to be gone, on whichever node it was
fi

echo "$(hostname) $port" > ADDRESS  # for drivers.sh, which may join at any time
forceserver launch config.toml --port "$port" -n 1 --threads "$OMP_NUM_THREADS" "${restart[@]}" &
launch=$!
srun --kill-on-bad-exit=0 --cpus-per-task="$OMP_NUM_THREADS" --output=drivers-%j-%t.log \
    forceserver drive config.toml --role force --host "$(hostname)" --port "$port" &
drivers=$!

out_of_time=no
trap 'out_of_time=yes; kill -TERM $launch 2>/dev/null' USR1     # i-PI writes RESTART and tells the drivers to leave
trap 'kill -TERM $launch 2>/dev/null' TERM                      # scancel
code=129
while [ $code -gt 128 ] && kill -0 $launch 2>/dev/null; do
    wait $launch; code=$?                           # a trap interrupts it
done
rm -f ADDRESS

if [ $code = 0 ]; then
    echo "the simulation is complete"
elif [ $out_of_time = yes ] && [ -f RESTART ] && [ "$link" -lt "${MAX_JOBS:-20}" ]; then
    echo "out of time: job $((link + 1)) of the chain goes on"
    LINK=$((link + 1)) sbatch --dependency="afterany:$SLURM_JOB_ID" job.sh
    code=0
else
    echo "launch ended with code $code: nothing is submitted; sbatch job.sh goes on from what there is"
fi

for _ in {1..30}; do                                # i-PI has told the drivers to leave
    kill -0 $drivers 2>/dev/null || exit $code
    sleep 1
done
kill $drivers
wait $drivers
exit $code
