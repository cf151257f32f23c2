// Package enginepb is the generated code of engine.proto, the contract between
// the control plane and an engine. Package internal/engine/wire turns its
// messages into the words of package captioner and back.
package enginepb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative engine.proto
