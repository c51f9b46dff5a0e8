#!/bin/sh
# The large counts: an hour or more. What it prints stands in reports/soak.txt; docs/performance.md keeps the last result.
#   KILLS   processes killed on each of the two grounds (a folder; PostgreSQL and a bucket) while they issue; the
#           stories of moving, exporting, rebuilding and serving take their share of it, and as many of a Fabric
#           network's orderers                                                                    (default 200)
#   SEED    decides where                                        (default: of the day)
#   FUZZ    time for each fuzz target                            (default 60s)
#   BIRTHS  births of the growth run                             (default 100000; 140 KB of disk each)
set -u
cd "$(dirname "$0")/.." || exit 1
mkdir -p reports
out=reports/soak.txt
: >"$out"
failures=""
say() { echo "$@" | tee -a "$out"; }
failed() {
	failures="$failures
  $*"
	say "FAILED: $*"
}
kills=${KILLS:-200} seed=${SEED:-$(date +%Y%m%d)} births=${BIRTHS:-100000}
say "soak of $(git rev-parse --short HEAD 2>/dev/null || echo 'no commit'), $(date -u +%Y-%m-%dT%H:%MZ), $(go version | cut -d' ' -f3,4), $(nproc) cores, $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
say "KILLS=$kills SEED=$seed FUZZ=${FUZZ:-60s} BIRTHS=$births"
# The program that is measured is the one that stands here, not one of another day.
CGO_ENABLED=0 go build -trimpath -o bin/elicence ./cmd/elicence || {
	failed "the program does not build"
	exit 1
}

say "== $kills kills on each ground, seed $seed"
ELICENCE_SOAK_KILLS=$kills ELICENCE_SOAK_SEED=$seed go test -count=1 -timeout 12h -run '^TestKilled' -v ./cmd/elicence ./ledger/fabric >reports/soak-kills.log 2>&1 ||
	failed "kills, seed $seed, see reports/soak-kills.log"
grep -E '^ *--- |^(ok|FAIL|panic:)' reports/soak-kills.log | tee -a "$out"
[ "$(grep -c '^ok' reports/soak-kills.log)" = 2 ] || failed "the kills did not come to their end"

# Without the minimising bound Go spends the time shrinking 60 KB inputs instead of trying new ones.
fuzz() {
	go test -run '^$' -fuzz "^$2\$" -fuzztime "${FUZZ:-60s}" -fuzzminimizetime 1x "$1" >reports/soak-fuzz.log 2>&1
}

say "== fuzz targets, ${FUZZ:-60s} each"
targets=0
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz'); do
		targets=$((targets + 1))
		fuzz "$package" "$target" || {
			# On a busy machine Go calls the end of the time a failure when a worker is not back yet; then no input is named.
			grep -q 'context deadline exceeded' reports/soak-fuzz.log && ! grep -q 'Failing input' reports/soak-fuzz.log && fuzz "$package" "$target"
		} || {
			failed "$package $target"
			cat reports/soak-fuzz.log
		}
		say "$package $target: $(grep 'elapsed:' reports/soak-fuzz.log | tail -1)"
	done
done

[ "$targets" -gt 0 ] || failed "there are no fuzz targets"

say "== growth and speed"
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 140) }')
if [ "$births" -gt "$free" ]; then
	failed "$births births need more disk than there is: BIRTHS=$free fits"
	births=$free
fi
# The same without and with many before it; nothing is issued beyond BIRTHS.
few=1000 some=10000
[ "$births" -gt "$few" ] || few=$births
[ "$births" -gt "$some" ] || some=$births
for run in "issue -n $few" "issue -n $some" "issue -n $births" "render -n 5000" "sign -n 5000" "verify -n 20000"; do
	say "elicence bench $run"
	# shellcheck disable=SC2086
	bin/elicence bench $run >reports/soak-bench.log 2>&1 || failed "bench $run"
	tee -a "$out" <reports/soak-bench.log
done
if [ -n "$failures" ]; then
	say "soak FAILED, of:$failures"
	exit 1
fi
say "soak passed"
