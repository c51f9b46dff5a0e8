#!/bin/sh
# Runs every test, then the concurrent packages under the race detector. With CI=true a skipped test is a failure.
set -u
mkdir -p reports
status=0
check() {
	grep -E '^(ok|FAIL|panic:|--- FAIL|    --- FAIL)|no test files' "$1" | grep -v 'no test files'
	if [ "${CI:-}" = true ] && grep -E '^ *--- SKIP' "$1"; then
		echo "a test was skipped, and with CI=true that is a failure" >&2
		status=1
	fi
}
go vet ./... || status=1
go test -v -timeout 20m ./... >reports/test.log 2>&1 || {
	status=1
	grep -E -B30 '^ *--- FAIL|^panic:|^# ' reports/test.log | tail -n 200
}
check reports/test.log
CGO_ENABLED=1 go test -race -v -timeout 20m $(cat scripts/race-packages.txt) >reports/race.log 2>&1 || {
	status=1
	grep -E -B30 '^ *--- FAIL|^panic:|DATA RACE|^# ' reports/race.log | tail -n 200
}
check reports/race.log
exit $status
