#!/bin/bash
# Searches the settings of Minitron, one change at a time, on a machine that does nothing else.
#   PYTHON=rivals-python/bin/python search.sh MODEL TRAIN VALIDATION SECONDS TARGET TRIALS
# Each trial adds a line to the file TRIALS. BASE="--lr 1e-3" changes what all trials begin from, for a second round.
set -eu
model=$1 train=$2 validation=$3 seconds=$4 target=$5 trials=$6
here=$(dirname "$0")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
while read -r change; do
  # shellcheck disable=SC2086
  "${PYTHON:-python3}" "$here/rival.py" "$model" "$out" --train "$train" --validation "$validation" --seconds "$seconds" \
    --target-params "$target" --trials "$trials" ${BASE:-} $change < /dev/null | tail -n 1
done << 'END'
--lr 3e-4
--lr 1e-4
--lr 6e-4
--lr 1e-3
--batch 8
--batch 2 --seq 512
--batch 4 --seq 256
--decay linear
--temperature 2
--layer-loss 1
--kept run
--beta2 0.999
END
