#!/bin/sh
# An older program's installation, upgraded and taken back: births are issued by the older, the newer and again the older
# program, then by the newer one once more; nothing is missing, doubled or unverifiable.
#   OLD      commit of the older program   (default: the last one without due work)
#   TABLES   version of its tables         (default 3)
# Where the history does not reach so far, the newer program plays the older one: it is given tables of that version.
set -eu
old=${OLD:-35b2e933febadefed3a042d34342db31de306753} tables=${TABLES:-3}
here=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CGO_ENABLED=0
go build -trimpath -buildvcs=false -o "$work/newer" ./cmd/elicence
if git cat-file -e "$old^{commit}" 2>/dev/null; then
	mkdir "$work/source"
	git archive "$old" | tar -x -C "$work/source"
	# Its keystores cost as little as those of tests; the cost stands in each file.
	sed -i 's/costN *= 1 << 17/costN = 1 << 10/' "$work/source/hsm/softkey/file.go" "$work/source/hsm/softkey/keystore.go"
	(cd "$work/source" && go build -trimpath -buildvcs=false -o "$work/older" ./cmd/elicence)
	rm -rf "$work/source"
else
	echo "the history does not have $old: its tables are tested, its program is not"
	cp "$work/newer" "$work/older"
fi
cd "$work"
older() { ./older --data data "$@"; }
newer() { ./newer --data data "$@"; }
births() { sed -n "$1,$2p" "$here/testdata/births/births.jsonl" >"births-$1.jsonl" && echo "births-$1.jsonl"; }
# holds COUNT: so many licences, all different, all verify from exported files alone, and log and sheets fit.
holds() {
	for program in $2; do
		"$program" ledger audit
		"$program" number reconcile >books || { cat books && exit 1; }
		"$program" list >list
		[ "$(grep -c 'in force' list)" = "$1" ] || { echo "want $1 licences" && cat list && exit 1; }
		[ "$(awk '/in force/ { print $1 }' list | sort -u | wc -l)" = "$1" ] || { echo "a number stands twice" && cat list && exit 1; }
		rm -rf out
		awk '/in force/ { print $1 }' list | while read -r number; do "$program" export "$number" --out out >/dev/null; done
		"$program" verify --trust out/trust.json --pin "$(cat data/trust.pin)" out/*-main.pdf out/*-counterfoil.pdf >verdicts || { cat verdicts && exit 1; }
	done
}
older init
older issue --births "$(births 1 4)"
[ "$(./newer --data data database version --json | sed -n 's/.*"program": *\([0-9]*\).*/\1/p')" -gt "$tables" ]
if cmp -s older newer; then newer database down --to "$tables"; fi
newer issue --births "$(births 5 8)"
newer issue --births "$(births 1 4)" | grep 'standing 4'
holds 8 newer
newer database down --to "$tables"
newer database version --json | grep "\"tables\": $tables"
older issue --births "$(births 9 12)"
older issue --births "$(births 5 8)" | grep 'standing 4'
cmp -s older newer || holds 12 older
newer issue --births "$(births 13 16)"
holds 16 newer
echo "upgrade and the way back: 16 births, none lost or doubled"
