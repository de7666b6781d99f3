#!/usr/bin/env bash
# Stands in for gpu_check_tests in a rehearsal (rehearsal.cmake): the native tests have the same suites, and others. Of each suite that the
# filter names it runs one test, because the native tests run all of them on the emulated card anyway.
set -u
filter='*' list=0
for argument; do
  case $argument in --gtest_filter=*) filter=${argument#*=} ;; --gtest_list_tests) list=1 ;; esac
done
export ESPALIER_REHEARSAL=1
program=$(dirname "$0")/../espalier_tests
checked='All/[A-Za-z]+[.].*/(cuda|emulated)[0-9]_|All/Instructions[.]|CudaStep[.]|SeveralCards[.]|Determinism[.]'
named=$("$program" --gtest_list_tests --gtest_filter="$filter" |
  awk '/^ / { print suite $1 } /^[^ ]/ { suite = $1 }' | grep -E "^($checked)")
if [ $list = 1 ]; then
  printf '%s' "${named:+$named$'\n'}"
  exit 0
fi
[ -n "$named" ] || { echo "no test has a name like $filter"; exit 1; }
"$program" --gtest_filter="$(printf '%s\n' "$named" | awk -F. '!known[$1]++' | paste -sd:)"
