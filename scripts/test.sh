#!/bin/sh
# Runs every test, then the concurrent packages under the race detector. With CI=true a skipped test is a failure.
set -u
mkdir -p reports
status=0
begun=$(date +%s)

# run LOG COMMAND…: the whole output goes to the log; of a failure the lines before it are shown, of everything the
# closing lines of go test.
run() {
	log=reports/$1
	shift
	"$@" >"$log" 2>&1 || {
		status=1
		grep -E -B30 '^ *--- FAIL|^panic:|DATA RACE|^# |\[setup failed\]' "$log" | tail -n 200
	}
	grep -E '^(ok|FAIL|panic:)|^ *--- FAIL' "$log" | grep -v 'no test files'
	if [ "${CI:-}" = true ] && grep -E '^ *--- SKIP' "$log"; then
		echo "a test was skipped, and with CI=true that is a failure" >&2
		status=1
	fi
}

go vet ./... || status=1
run test.log go test -v -timeout 20m ./...

echo "connector for older Fabric networks:"
# The other of the two that exclude each other in a binary, and all that is built with either.
go vet -tags fabricsdk ./... || status=1
run sdk.log go test -tags fabricsdk -v -timeout 20m ./ledger/fabric

echo "race detector:"
export CGO_ENABLED=1
whole=$(awk '!/^#/ && NF == 1 { print $1 }' scripts/race-packages.txt)
# shellcheck disable=SC2086
run race.log go test -race -v -timeout 20m $whole
awk '!/^#/ && NF == 2' scripts/race-packages.txt >reports/race-some.txt
while read -r package tests; do
	pattern=$(echo "$tests" | sed 's#/#)$/^(#g')
	run race-some.log go test -race -v -timeout 20m -run "^($pattern)\$" "$package"
	# A name that matches nothing would pass for ever.
	for name in $(echo "$tests" | tr '|/' '  '); do
		grep -qE "^=== RUN +([^ ]*/)?$name\$" reports/race-some.log || { echo "$package has no test $name" >&2 && status=1; }
	done
done <reports/race-some.txt
run race-sdk.log go test -race -tags fabricsdk -v -timeout 20m -run '^TestSuite$/^(Concurrent|TwoProcesses)$' ./ledger/fabric

echo "upgrade and the way back:"
CGO_ENABLED=0 sh scripts/test-upgrade.sh >reports/upgrade.log 2>&1 || {
	status=1
	tail -n 40 reports/upgrade.log
}
tail -n 1 reports/upgrade.log

echo "$(($(date +%s) - begun)) seconds"
[ "$status" = 0 ] && echo "all tests passed"
exit $status
