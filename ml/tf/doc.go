// Package tf is the boundary to TensorFlow's C library: tensors that are
// released when their owner says so, sessions, graph building, gradients,
// variables, SavedModels and tensor files. Everything that calls C lives here
// or in github.com/wamuir/graft, on which it stands; the packages above build
// and run graphs through it and import neither.
//
// Three things it adds to graft:
//
//   - A [Tensor] has a Release method. graft frees C memory only when Go's
//     collector runs, and the collector does not see C memory, so that a
//     training loop would pile up gigabytes.
//   - [Add] gives every operation a unique name and never panics on the empty
//     outputs that follow an earlier error: errors stick to the [Scope] and
//     come back once, from Finalize.
//   - Graphs are written deterministically: the same graph, the same bytes.
//
// The first session of a process fixes its number of threads for good:
// TensorFlow keeps one thread pool per process.
package tf
