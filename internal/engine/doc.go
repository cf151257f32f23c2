// Package engine is the control plane's side of the engine, the child process
// that holds TensorFlow: it starts one, talks gRPC to it over a Unix socket, and
// ends it. [OpenModel] gives a serving engine with one loaded model; [Jobs] keeps
// one warm for extraction, training and the captions of an evaluation.
//
// An engine that dies takes no more with it than the calls that it was
// answering: they fail as Unavailable, and whoever made them may try again with
// a new engine. The contract itself is in enginepb, its translation in wire, the
// other side in server. Nothing here imports TensorFlow.
package engine
