#!/bin/sh
# ptxas_report.sh OBJECT COMMAND... runs the compiler. What ptxas reports about each kernel goes to OBJECT.ptxas; the other messages are
# passed on.
object=$1
shift
said='^ptxas info|^ +[0-9]+ bytes stack frame'
"$@" 2> "$object.said"
status=$?
grep -E "$said" "$object.said" > "$object.ptxas"
grep -vE "$said" "$object.said" >&2
rm -f "$object.said"
exit $status
