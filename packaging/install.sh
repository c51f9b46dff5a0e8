#!/bin/sh
# Installs elicence from this unpacked archive. It needs no network, may be run again at any time, and touches no data.
#
#   sh install.sh [--prefix DIR] [--root DIR] [--data DIR]
#
#   --prefix  where programs are            (default /usr/local)
#   --root    install below this folder instead of /: for images and packages; no user is made, nothing is reloaded
#   --data    an installation's data folder (default /var/lib/elicence/data): its tables must not be newer than this program
set -eu
here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local root="" data=/var/lib/elicence/data

say() { echo "$1 / $2"; }
stop() {
	echo "install.sh: $1 / $2" >&2
	exit 1
}
while [ $# -gt 0 ]; do
	case "$1" in
	--prefix | --root | --data)
		[ $# -ge 2 ] || stop "$1 缺少值" "$1 needs a value"
		case "$2" in /*) ;; *) stop "$1 应为绝对路径" "$1 takes an absolute path" ;; esac
		case "$1" in --prefix) prefix=${2%/} ;; --root) root=${2%/} ;; --data) data=$2 ;; esac
		shift 2
		;;
	*)
		sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
		exit 64
		;;
	esac
done
case "$prefix" in *[!A-Za-z0-9/._-]*) stop "--prefix 含有不宜用于路径的字符" "--prefix has a character that a unit file would not take" ;; esac

# What was damaged on its way is not installed.
(cd "$here" && sha256sum --quiet --strict -c SHA256SUMS) || stop "文件与 SHA256SUMS 不符，未安装" "files do not fit SHA256SUMS: nothing was installed"

# An older program must not meet newer tables: it would refuse them, and the service would stand still.
if [ -e "$root$data/elicence.yaml" ]; then
	code=0
	seen=$("$here/bin/elicence" database version --data "$root$data" 2>&1) || code=$?
	case $code in
	0) say "数据表可用：$root$data" "the tables of $root$data fit" ;;
	1) stop "数据表比本程序新，未安装。先用现有的新程序执行 elicence database down，见 operations.md" "the tables are newer than this program: nothing was installed. First run “elicence database down” with the newer program; see operations.md
$seen" ;;
	*) stop "看不到数据表的版本，未安装" "the version of the tables cannot be seen: nothing was installed
$seen" ;;
	esac
fi

# put MODE FROM TO: each file is replaced at once, so that a running program keeps its own.
put() {
	to=$root$3
	if [ -e "$to" ] && cmp -s "$2" "$to"; then
		return
	fi
	mkdir -p "$(dirname "$to")"
	install -m "$1" "$2" "$to.new"
	mv -f "$to.new" "$to"
	echo "  $to"
}
say "安装到 $root$prefix" "installing to $root$prefix"
put 0755 "$here/bin/elicence" "$prefix/bin/elicence"
for tree in share/elicence share/doc/elicence; do
	[ -d "$here/$tree" ] || continue
	list=$(cd "$here" && find "$tree" -type f | LC_ALL=C sort)
	for file in $list; do
		case "$file" in share/elicence/systemd/*) continue ;; esac
		put 0644 "$here/$file" "$prefix/$file"
	done
done
unit=$(mktemp)
trap 'rm -f "$unit"' EXIT
sed "s|@PREFIX@|$prefix|g" "$here/share/elicence/systemd/elicence.service" >"$unit"
put 0644 "$unit" /etc/systemd/system/elicence.service
put 0644 "$here/share/elicence/systemd/elicence.sysusers.conf" /etc/sysusers.d/elicence.conf
put 0644 "$here/share/elicence/systemd/elicence.tmpfiles.conf" /etc/tmpfiles.d/elicence.conf

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
	say "建立用户 elicence 和目录" "making the user elicence and its folders"
	systemd-sysusers elicence.conf
	systemd-tmpfiles --create elicence.conf
	systemctl daemon-reload
	say "服务未启动、未重启；需要时" "no service was started or restarted; when you want to:"
	echo "  systemctl enable --now elicence   ·   systemctl restart elicence"
fi
say "完成" "done"
