#!/bin/sh
# Packs dist/elicence-VERSION-linux-{amd64,arm64}.tar.gz: what an installation without a network needs. The same commit, Go
# and font package give the same bytes.
#   ARCHS    which          (default amd64 arm64)
#   FONTS    folder of the fallback fonts (default Debian's fonts-hanazono)
#   VERSION  instead of the file VERSION or what git describes
set -eu
export LC_ALL=C TZ=UTC
umask 022
version=${VERSION:-}
[ -n "$version" ] || { [ -s VERSION ] && version=$(cat VERSION); } || version=$(git describe --tags --always --dirty)
case "$version" in '' | *[!A-Za-z0-9._+-]*) echo "dist.sh: no version: $version" >&2 && exit 1 ;; esac
commit=$(git rev-parse HEAD)
epoch=$(git log -1 --format=%ct)
fonts=${FONTS:-/usr/share/fonts/truetype/hanazono}
for f in HanaMinA.ttf HanaMinB.ttf; do
	[ -s "$fonts/$f" ] || { echo "dist.sh: $fonts/$f is missing: apt-get install fonts-hanazono, or FONTS=FOLDER" >&2 && exit 1; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p dist

# licences BINARY FOLDER: the licence texts of Go and of every module that is in the program.
licences() {
	mkdir -p "$2/go"
	cp "$(go env GOROOT)/LICENSE" "$2/go/LICENSE"
	go version -m "$1" | awk '$1 == "dep" { print $2 "@" $3 }' | while read -r module; do
		dir=$(go list -m -f '{{.Dir}}' "$module" 2>/dev/null) || dir=$(go mod download -json "$module" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
		found=no
		for f in "$dir"/LICEN[CS]E* "$dir"/NOTICE* "$dir"/COPYING* "$dir"/PATENTS*; do
			[ -f "$f" ] || continue
			mkdir -p "$2/$module"
			cp "$f" "$2/$module/"
			found=yes
		done
		[ "$found" = yes ] || { echo "dist.sh: $module has no licence text" >&2 && exit 1; }
	done
}

for arch in ${ARCHS:-amd64 arm64}; do
	name=elicence-$version-linux-$arch
	staged=$work/$name
	mkdir -p "$staged/bin" "$staged/share/elicence" "$staged/share/doc/elicence/licences/fonts"
	echo "building $name"
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOAMD64=v1 GOARM64=v8.0 GOFLAGS= go build -trimpath -buildvcs=false \
		-ldflags "-s -w -buildid= -X main.release=$version -X main.commit=$commit" -o "$staged/bin/elicence" ./cmd/elicence
	cp -R packaging/systemd packaging/examples "$staged/share/elicence/"
	mkdir "$staged/share/elicence/fonts"
	cp "$fonts/HanaMinA.ttf" "$fonts/HanaMinB.ttf" "$staged/share/elicence/fonts/"
	cp packaging/README.md packaging/install.sh LICENSE "$staged/"
	cp docs/operations.md docs/licences.md "$staged/share/doc/elicence/"
	cp templates/fonts/OFL.txt "$staged/share/doc/elicence/licences/fonts/NotoSerifSC-OFL.txt"
	cp licence/guifan-LICENSE.txt "$staged/share/doc/elicence/licences/"
	hanazono=$fonts/copyright
	[ -s "$hanazono" ] || hanazono=/usr/share/doc/fonts-hanazono/copyright
	cp "$hanazono" "$staged/share/doc/elicence/licences/fonts/HanaMin-copyright"
	licences "$staged/bin/elicence" "$staged/share/doc/elicence/licences"
	find "$work/$name" -type d -exec chmod 0755 {} + -o -type f -exec chmod 0644 {} +
	chmod 0755 "$staged/bin/elicence" "$staged/install.sh"
	(
		cd "$staged"
		find . -type f ! -name SHA256SUMS ! -name SM3SUMS | sed 's|^\./||' | sort >"$work/files"
		xargs -d '\n' sha256sum <"$work/files" >"$work/SHA256SUMS"
		xargs -d '\n' openssl dgst -sm3 -r <"$work/files" | sed 's/ \*/  /' >"$work/SM3SUMS"
		mv "$work/SHA256SUMS" "$work/SM3SUMS" .
		chmod 0644 SHA256SUMS SM3SUMS
	)
	tar --sort=name --format=ustar --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -C "$work" -cf "$work/$name.tar" "$name"
	gzip -n -9 <"$work/$name.tar" >"dist/$name.tar.gz.new"
	mv "dist/$name.tar.gz.new" "dist/$name.tar.gz"
	(cd dist && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256" && openssl dgst -sm3 -r "$name.tar.gz" | sed 's/ \*/  /' >"$name.tar.gz.sm3")
	rm -rf "$staged" "$work/$name.tar"
done
ls -l dist
