// Package captioner is the vocabulary of the project: images and captions,
// runs and their progress, model versions and scores, digests, errors, the
// configuration, and the interfaces that several packages share.
//
// It holds no behaviour beyond what the words themselves need, imports nothing
// of the project and is imported by all of it. Package internal/app joins the
// implementations; cmd/captioner and cmd/captioner-engine are the two programs.
package captioner
