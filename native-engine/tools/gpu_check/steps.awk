# Makes tables of what step_bench printed: a line for each kind of step, and the slowest ops below it. part: the name of the part.
function of(name,   text) {
  if (!match($0, "\"" name "\":\"?[^,\"}]*")) return ""
  text = substr($0, RSTART, RLENGTH)
  sub(/^"[^"]*":"?/, "", text)
  return text
}
/^\{"model"/ {
  cards = of("devices")
  if (cards == 1) alone = of("s_per_step")
  printf "\n%s: %s, %s sequences of %s, rank %s, %d%% closed: %.1f ms a step, %.0f tokens a second, ", part,
    of("model"), of("batch"), of("seq"), of("lora_rank"), 100 * of("mask_sparsity"), 1e3 * of("s_per_step"), of("tokens_per_s")
  if (cards > 1) printf "%d cards, %.2f times as quick as one\n", cards, alone / of("s_per_step")
  else printf "%.1f%% of the best product\n", 100 * of("peak_share")
  printf "  the card's best: products %.1f TFLOP/s, copies %.2f TB/s; memory taken %.2f GB, planned %.2f GB\n",
    of("matmul_peak_flops_per_s") / 1e12, of("copy_bytes_per_s") / 1e12, of("device_bytes") / 1e9, of("planned_bytes") / 1e9
  step = of("s_per_step")
  first = 1
}
/^\{"op"/ {
  if (first) printf "  %-20s %6s %9s %8s %9s %10s %9s %8s\n", "slowest ops", "calls", "ms", "of step", "TFLOP", "of best", "GB", "of best"
  first = 0
  printf "  %-20s %6d %9.3f %7.1f%% %9.3f %9.1f%% %9.3f %7.1f%%\n", of("op"), of("count"), 1e3 * of("s"), 100 * of("s") / step,
    of("flops") / 1e12, 100 * of("matmul_peak_share"), of("bytes") / 1e9, 100 * of("copy_share")
}
