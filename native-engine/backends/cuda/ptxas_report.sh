#!/bin/sh
# ptxas_report.sh OBJECT COMMAND... runs the compiler. What ptxas reports about each kernel goes to OBJECT.ptxas; the other messages are
# passed on. Numbered messages are warnings, which go to both places.
object=$1
shift
said='^ptxas info|^ +[0-9]+ bytes stack frame'
"$@" 2> "$object.said"
status=$?
grep -E "$said" "$object.said" > "$object.ptxas"
grep -E "\(C[0-9]+\)" "$object.said" >&2
grep -vE "$said" "$object.said" >&2
rm -f "$object.said"
exit $status
