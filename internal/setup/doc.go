// Package setup tests the scripts in tools/ that make a machine ready to build
// captioner: preflight, tensorflow and temporal. Each is run with programs of
// the tests in the place of the machine's, so that what a user is told can be
// seen where a compiler, pip, space or the right version is missing. It holds
// no code of its own.
package setup
