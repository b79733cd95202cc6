#!/usr/bin/env bash
# train.sh DATA OUTPUTS: counts the words of DATA, and writes a log, metrics and a 200 MB checkpoint below OUTPUTS.
set -euo pipefail
data=$1 outputs=$2
mkdir -p "$outputs/logs"
for step in 1 2 3; do
  echo "step $step: $(cat "$data"/* | wc -w) words, loss 0.$((9 - step * 2))" | tee -a "$outputs/logs/train.log"
done
echo '{"loss": 0.3, "steps": 3}' > "$outputs/metrics.json"
head -c 200000000 /dev/urandom > "$outputs/checkpoint.pt.tmp"
mv "$outputs/checkpoint.pt.tmp" "$outputs/checkpoint.pt"
ls -l "$outputs"
