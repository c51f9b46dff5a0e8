// Package protos names Fabric's messages. They come in two modules, of which a binary can hold only one, because both register
// the same protobuf names: github.com/hyperledger/fabric-protos-go-apiv2, which fabric-gateway uses, and, with the build tag
// fabricsdk, github.com/hyperledger/fabric-protos-go, which fabric-sdk-go uses. Whoever reads or writes Fabric's messages takes
// them from here, under Fabric's own names, and need not know which module it is.
package protos
