#!/bin/bash
# Prunes a model by Espalier in a given time, then by Minitron in PyTorch in as many seconds, on a machine that does nothing else.
#   PYTHON=rivals-python/bin/python cell.sh MODEL TRAIN VALIDATION TARGET TIME SEED OUT
# TARGET is a count such as 100M, TIME a duration such as 10m, or a number of steps of recovery. OUT gets the Hugging Face folders
# `espalier` and `rival`, and the folder around it a line in cells.jsonl. The seconds of Espalier count from the start of its server to
# its written export. judge.sh measures both folders. With LIBRARY, the name of a scan in ESPALIER_DATA_FOLDER, the scan chooses the widths;
# no server may run on that folder, and the seconds of the scan are not among those of the cell. With RIVAL=0 the rival does not run.
set -euo pipefail
model=$(realpath "$1") train=$(realpath "$2") validation=$(realpath "$3") target=$4 time=$5 seed=$6
case $time in *[a-z]) length=--time ;; *) length=--recover-steps ;; esac
mkdir -p "$7"
out=$(realpath "$7")
here=$(realpath "$(dirname "$0")")
temporary=$(mktemp -d)
[ -n "${LIBRARY:-}" ] || ESPALIER_DATA_FOLDER=$temporary
export ESPALIER_DATA_FOLDER
name=cell-$target-$time-$seed-$(date +%s)
espalier() { node "$here/../../dist/apps/cli/src/espalier.js" "$@"; }
trap 'espalier down > "$out/down.log" 2>&1 || true; rm -rf "$temporary"' EXIT
rm -rf "$out/espalier" "$out/rival"

start=$(date +%s.%N)
espalier up --detach --listen "127.0.0.1:${PORT:-7455}" > "$out/espalier.log" 2>&1
espalier launch --model "$model" --data "$train" --preset fisher --target-params "$target" "$length" "$time" --seed "$seed" \
  ${LIBRARY:+--library "$LIBRARY"} --name "$name" --watch >> "$out/espalier.log" 2>&1
espalier export "$name" --format hf --out "$out/espalier" --no-proof >> "$out/espalier.log" 2>&1
seconds=$(echo "$(date +%s.%N) - $start" | bc)
espalier show "$name" --json > "$out/show.json"
espalier down > "$out/down.log" 2>&1

count=$(printf '%s' "$target" | sed 's/M$/e6/; s/B$/e9/')
if [ "${RIVAL:-1}" != 0 ]; then
  "${PYTHON:-python3}" "$here/rival.py" "$model" "$out/rival" --train "$train" --validation "$validation" --target-params "$count" \
    --batch 2 --seq 256 --seconds "$seconds" --judge 1 --seed "$seed" > "$out/rival.log" 2>&1
fi
node -e '
  const { readFileSync } = require("node:fs");
  const [out, target, time, seed, seconds] = process.argv.slice(1);
  const read = (name) => JSON.parse(readFileSync(`${out}/${name}`, "utf8"));
  const rival = process.env.RIVAL === "0" ? undefined : read("rival/rival.json");
  const run = read("show.json");
  console.log(JSON.stringify({ target, time, seed: Number(seed),
    espalier: { seconds: Number(seconds), steps: run.settings.recover_steps, weights: run.result.parameter_count },
    library: process.env.LIBRARY,
    rival: rival && { seconds: rival.seconds, steps: rival.steps, weights: rival.weights, shape: rival.shape } }));
' "$out" "$target" "$time" "$seed" "$seconds" | tee -a "$out/../cells.jsonl"
