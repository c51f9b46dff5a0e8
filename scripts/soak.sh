#!/bin/sh
# The large counts: an hour or more. What it prints stands in reports/soak.txt; docs/performance.md keeps the last result.
#   KILLS   processes killed while they issue, move and export   (default 300)
#   SEED    decides where                                        (default: of the day)
#   FUZZ    time for each fuzz target                            (default 60s)
#   BIRTHS  births of the growth run                             (default 100000; 140 KB of disk each)
set -u
mkdir -p reports
out=reports/soak.txt
: >"$out"
status=0
say() { echo "$@" | tee -a "$out"; }
failed() {
	status=1
	say "FAILED: $*"
}
kills=${KILLS:-300} seed=${SEED:-$(date +%Y%m%d)} births=${BIRTHS:-100000}
say "soak of $(git rev-parse --short HEAD), $(date -u +%Y-%m-%dT%H:%MZ), $(go version | cut -d' ' -f3,4), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"

say "== $kills kills, seed $seed"
ELICENCE_SOAK_KILLS=$kills ELICENCE_SOAK_SEED=$seed go test -count=1 -timeout 6h -run '^TestKilled' -v ./cmd/elicence >reports/soak-kills.log 2>&1 ||
	failed "kills, see reports/soak-kills.log"
grep -E '^(--- |ok|FAIL)' reports/soak-kills.log | tee -a "$out"

say "== fuzz targets, ${FUZZ:-60s} each"
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz'); do
		# Without the minimising bound Go spends the time shrinking 60 KB inputs instead of trying new ones.
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ:-60s}" -fuzzminimizetime 1x "$package" >reports/soak-fuzz.log 2>&1 || {
			failed "$package $target"
			cat reports/soak-fuzz.log
		}
		say "$package $target: $(grep -E 'execs:' reports/soak-fuzz.log | tail -1)"
	done
done

say "== growth and speed"
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 140) }')
if [ "$births" -gt "$free" ]; then
	failed "$births births need more disk than there is: BIRTHS=$free fits"
	births=$free
fi
for run in "issue -n 1000" "issue -n 10000" "issue -n $births" "render -n 5000" "sign -n 5000" "verify -n 20000"; do
	say "elicence bench $run"
	# shellcheck disable=SC2086
	bin/elicence bench $run >reports/soak-bench.log 2>&1 || failed "bench $run"
	tee -a "$out" <reports/soak-bench.log
done
[ "$status" = 0 ] && say "soak passed"
exit $status
