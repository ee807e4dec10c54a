#!/usr/bin/env bash
#SBATCH --job-name=cellml
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --array=1-6
# Six folds of the dissertation's cross-validation, one node each:
#   sbatch launch/slurm.sh
# The run's folder is its state: a job that was stopped goes on when it is started again.
set -euo pipefail
python="${PYTHON:-.venv/bin/python}"
fold="${SLURM_ARRAY_TASK_ID:-1}"
exec srun "$python" launch/train.py \
  --config "configs/unet_dissertation.py:fluo_15/cv${fold}" \
  --workdir "runs/fluo_15/cv${fold}" \
  --config.data.manual_dir="${DSB2018:?set DSB2018 to the folder with the images}"
