#!/bin/sh
# The large counts: hours. What it prints stands in reports/soak.txt; docs/performance.md keeps the last result.
#   KILLS   processes killed while they issue   (default 300)
#   FUZZ    time for each fuzz target           (default 60s)
#   BIRTHS  births of the growth run            (default 100000)
set -u
mkdir -p reports
status=0
out=reports/soak.txt
: >"$out"
say() { echo "$@" | tee -a "$out"; }
say "soak of $(git rev-parse --short HEAD) on $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
say "kills: ${KILLS:-300}"
ELICENCE_SOAK_KILLS=${KILLS:-300} go test -timeout 6h -run 'Kill|Crash' -v ./cmd/elicence >reports/soak-kills.log 2>&1 || status=1
grep -E '^(---|ok|FAIL)' reports/soak-kills.log | tee -a "$out"
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" 2>/dev/null | grep '^Fuzz'); do
		# Without the minimising bound Go spends the time shrinking 60 KB inputs instead of trying new ones.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ:-60s}" -fuzzminimizetime 1x "$package" >reports/soak-fuzz.log 2>&1 || {
			status=1
			cat reports/soak-fuzz.log
		}
		say "fuzz $package $target: $(grep -E 'execs' reports/soak-fuzz.log | tail -1)"
	done
done
for n in 1000 10000 "${BIRTHS:-100000}"; do
	bin/elicence bench issue -n "$n" 2>&1 | tee -a "$out" || status=1
done
exit $status
