// Package tracking leaves the files of each run that people and their tools
// read, below DATA_DIR/runs/<run>/:
//
//	config_snapshot.json  the configuration, with its digest
//	metrics.csv           the curves, a row for each step that was reported
//	events.out.tfevents.* the same for TensorBoard, with sample captions
//	wordtoix.json         the vocabulary, a number for each word
//	ixtoword.json         and a word for each number
//	bleu_scores.csv       sentence BLEU of each test picture
//	run_summary.json      what ran where, and what came out
//
// A [Tracker] derives all of it from the database and the blobs, and stands
// beside the run: nothing in it can fail or delay one, and files that were lost,
// or torn when a machine died, are made again from the records. What is written
// at once is complete or not there; what grows is read as it grows, as in
// `tensorboard --logdir DATA_DIR/runs`.
package tracking
