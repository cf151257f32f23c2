package captioner

// EncoderShape is what an encoder of Keras' applications takes and gives:
// pictures of Side × Side pixels become Grid × Grid locations of Width numbers.
type EncoderShape struct{ Side, Grid, Width int }

// PretrainedShape returns the shape of the encoder of that name if it is one of
// Keras' applications, all 0 otherwise.
func PretrainedShape(encoder string) EncoderShape {
	switch encoder {
	case "EfficientNetB3":
		return EncoderShape{Side: 300, Grid: 10, Width: 1536}
	case "InceptionV3":
		return EncoderShape{Side: 299, Grid: 8, Width: 2048}
	}
	return EncoderShape{}
}
