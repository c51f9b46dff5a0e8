#!/bin/sh
# What an administrator does with the archives in dist/: compares digests, unpacks, installs below another root, twice, and
# issues a first birth without a network. Of arm64 the program is looked at. The same commit in another folder gives the same bytes.
set -eu
here=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
only() {
	[ $# = 1 ] && [ -s "$1" ] || { echo "test-dist.sh: dist has no archive, or several of one kind: make clean dist" >&2 && exit 1; }
	echo "$1"
}
amd64=$(only "$here"/dist/*-linux-amd64.tar.gz) arm64=$(only "$here"/dist/*-linux-arm64.tar.gz)
for archive in "$amd64" "$arm64"; do
	(cd dist && sha256sum --quiet --strict -c "$(basename "$archive").sha256")
	[ "$(openssl dgst -sm3 -r "$archive" | cut -c1-64)" = "$(cut -c1-64 "$archive.sm3")" ]
	tar xzf "$archive" -C "$work"
done
cd "$work"
for top in elicence-*; do
	(cd "$top" && sha256sum --quiet --strict -c SHA256SUMS)
	readelf -h "$top/bin/elicence" >header
	case "$top" in *-arm64) grep -q 'Machine: *AArch64' header ;; *) grep -q 'Machine: *Advanced Micro Devices X86-64' header ;; esac
	if readelf -l "$top/bin/elicence" | grep -q INTERP; then echo "$top: not static" >&2 && exit 1; fi
done
cd elicence-*-amd64
sh install.sh --root "$work/root" --prefix /opt/elicence >first
sh install.sh --root "$work/root" --prefix /opt/elicence >second
grep -q /opt/elicence/bin/elicence first
if grep '^  ' second; then echo "the second run replaced something" >&2 && exit 1; fi
grep -q '^ExecStart=/opt/elicence/bin/elicence serve' "$work/root/etc/systemd/system/elicence.service"
program=$work/root/opt/elicence/bin/elicence data=$work/root/var/lib/elicence/data
"$program" version --json >"$work/version"
grep -q '"version": "[^d]' "$work/version"
alone=""
unshare -n true 2>/dev/null && alone="unshare -n"
$alone "$program" init --data "$data"
head -1 "$here/testdata/births/births.jsonl" >birth.jsonl
$alone "$program" issue --data "$data" --births birth.jsonl
"$program" list --data "$data" | grep 'in force'
# Tables that fit are taken, damaged files are not, and neither changes what is installed.
sh install.sh --root "$work/root" --prefix /opt/elicence | grep 'fit'
cp "$data/records/elicence.db" "$work/fits.db"
python3 -c 'import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); d.commit()' "$data/records/elicence.db"
before=$(find "$work/root/opt" "$work/root/etc" -type f -exec sha256sum {} +)
code=0
sh install.sh --root "$work/root" --prefix /opt/elicence 2>newer || code=$?
[ "$code" = 1 ] && grep -q 'tables are newer than this program: nothing was installed' newer || { cat newer && echo "newer tables: exit $code" >&2 && exit 1; }
[ "$before" = "$(find "$work/root/opt" "$work/root/etc" -type f -exec sha256sum {} +)" ]
cp "$work/fits.db" "$data/records/elicence.db"
echo >>LICENSE
if sh install.sh --root "$work/root" --prefix /opt/elicence; then echo "damaged files were installed" >&2 && exit 1; fi
cmp "$here/LICENSE" LICENSE >/dev/null 2>&1 && exit 1
git clone -q "$here" "$work/clone" && git -C "$work/clone" checkout -q "$(sed -n 's/.*"commit": "\([0-9a-f]*\)".*/\1/p' "$work/version")"
(cd "$work/clone" && ARCHS=amd64 sh scripts/dist.sh) >again
cmp "$work"/clone/dist/*-amd64.tar.gz "$amd64"
echo "archives: unpacked, installed, issued a birth"
