#!/bin/sh
# Builds Hyperledger Fabric's peer, orderer and configtxgen into .tools/fabric, as fixed by tools/fabric/go.mod. The first
# build takes minutes; what is there already is not built again.
set -eu

release=3.1.1
built="$(cat tools/fabric/go.mod tools/fabric/go.sum | sha256sum | cut -d' ' -f1) $release"
[ "$(cat .tools/fabric/built 2>/dev/null)" = "$built" ] && exit 0

echo "building Hyperledger Fabric $release"
mkdir -p .tools/fabric
out="$PWD/.tools/fabric"
(
	cd tools/fabric
	# Without the version its programs say that they are "latest", and peers tell each other so.
	CGO_ENABLED=0 GOFLAGS= go build -trimpath -ldflags "-s -w -X github.com/hyperledger/fabric/common/metadata.Version=$release" -o "$out/" tool
	sample="$(go list -m -f '{{.Dir}}' github.com/hyperledger/fabric)/sampleconfig"
	install -m 644 "$sample/core.yaml" "$sample/orderer.yaml" "$out/"
)
echo "$built" >.tools/fabric/built
