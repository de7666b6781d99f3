#!/bin/bash
# Measures Hugging Face folders: perplexity by transformers alone, and seven tasks by Espalier with the rules of lm-evaluation-harness.
#   PYTHON=rivals-python/bin/python judge.sh VALIDATION WIKITEXT TASKS LIMIT FOLDER...
# VALIDATION and WIKITEXT are JSON-lines files, TASKS is the folder of the tasks' data, LIMIT the rows of each task. Each folder gets a file
# of results beside it, FOLDER.jsonl.
set -euo pipefail
validation=$(realpath "$1") wikitext=$(realpath "$2") tasks=$(realpath "$3") limit=$4
shift 4
here=$(realpath "$(dirname "$0")")
for folder in "$@"; do
  folder=$(realpath "$folder")
  {
    "${PYTHON:-python3}" "$here/perplexity.py" "$folder" --text "$validation" --tokens 32768
    "${PYTHON:-python3}" "$here/perplexity.py" "$folder" --text "$validation" --tokens 16384 --repeated
    "${PYTHON:-python3}" "$here/perplexity.py" "$folder" --wikitext "$wikitext" --tokens 60000
    node "$here/../../dist/apps/cli/src/espalier.js" eval --model "$folder" --tasks seven --task-data "$tasks" --limit "$limit" --json
  } > "$folder.jsonl"
done
