#!/bin/sh
# Installs what the tests call: PDF readers as second judges, OpenSSL as second judge of signatures, the fallback font,
# PostgreSQL, a real S3 server and a real Fabric network.
set -eu

# The server is built by itself, so that go.mod does not carry what only tests run. The first build takes minutes.
versitygw=v1.8.0
if ! go version -m .tools/versitygw 2>/dev/null | grep -q "versitygw[[:space:]]*$versitygw\b"; then
	echo "building versitygw $versitygw"
	mkdir -p .tools
	GOBIN="$PWD/.tools" GOFLAGS= go install "github.com/versity/versitygw/cmd/versitygw@$versitygw"
fi

sh scripts/fabric-tools.sh

packages="poppler-utils qpdf mupdf-tools openssl fonts-hanazono libpdfbox2-java libfontbox2-java libcommons-logging-java libactivation-java default-jdk-headless gcc libc6-dev postgresql-15"
missing=""
for p in $packages; do
	case "$p" in
	default-jdk-headless) command -v javac >/dev/null 2>&1 && continue ;;
	postgresql-15) [ -x /usr/lib/postgresql/15/bin/postgres ] && continue ;;
	gcc | libc6-dev) command -v gcc >/dev/null 2>&1 && continue ;;
	esac
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
run=""
[ "$(id -u)" = 0 ] || run="sudo -n"
if ! $run true 2>/dev/null; then
	echo "make test needs these Debian packages:$missing" >&2
	echo "install them with: sudo apt-get install$missing" >&2
	exit 1
fi
echo "installing$missing"
$run apt-get update -qq
case "$missing" in
*postgresql*)
	# Tests make clusters of their own: the package shall not start one.
	$run mkdir -p /etc/postgresql-common
	[ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" | $run tee /etc/postgresql-common/createcluster.conf >/dev/null
	;;
esac
DEBIAN_FRONTEND=noninteractive $run apt-get install -y -qq --no-install-recommends $missing >/dev/null
