// Package deploytest holds what captioner is deployed with against those who
// read it: Kubernetes' types, compose's loader, Prometheus' rules, Docker's
// parser. It has a go.mod of its own, because they bring hundreds of
// dependencies that captioner does not need. `make deploy-test` runs it.
package deploytest
