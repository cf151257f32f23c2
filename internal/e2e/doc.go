// Package e2e tests the two programs as a user starts them: real processes, a
// real Temporal server, real training, on data folders of their own.
//
// The tests need the programs that the variables CAPTIONER_BINARY,
// CAPTIONER_ENGINE and CAPTIONER_TEMPORAL name; `make test-e2e` builds them and
// sets the variables. Those of the page drive Chromium, from Debian's package
// chromium; with -screenshots DIR they leave a picture of every view, in both
// themes and at phone width, for somebody to look at.
//
// Longer tests, on the full demonstration data, carry the build tag "verify" and
// run by `make verify`.
package e2e
