// Package demodata makes the demonstration data set, so that the whole system
// can be tried and tested without a download: rendered pictures of a few
// coloured shapes, five written references each, and the truth about every
// scene beside them.
//
// The folder has the layout of the Kaggle edition of Flickr8k with the split
// files of the official one, and two files more:
//
//	Images/                      scene_00001.jpg, …
//	captions.txt                 image,caption: five lines a picture
//	Flickr_8k.trainImages.txt    one picture name a line
//	Flickr_8k.devImages.txt
//	Flickr_8k.testImages.txt
//	scenes.json                  the truth; for scoring only, never for training
//	demodata.json                what made the folder, and digests of the rest
//
// A few pairs of colour and shape occur in the test split only. Whether a model
// names them shows that it composes what it has learned rather than recalling
// it.
//
// Captions are scored by the pairs of colour and shape that they name: [Pairs]
// finds them, [PairF1] compares two captions, [PairPrecision] compares a
// caption with the scene, and [Score] averages over a split. N-gram scores are
// left to ml/metrics.
//
// The same seed gives the same bytes, whatever the number of CPUs. (Across
// architectures Go may fuse multiplications and additions, which may move a
// pixel by one level.)
package demodata
