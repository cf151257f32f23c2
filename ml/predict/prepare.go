package predict

import (
	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/images"
	"github.com/captioner/captioner/ml/tf"
)

// Preprocessor turns pictures into the squares that encode takes, in a
// TensorFlow graph. It is safe for concurrent use. The SavedModel's signatures
// and model.Preprocessor are two runs of the same graph code.
type Preprocessor interface {
	// Bytes decodes an encoded picture. orientation is EXIF's, 1 to 8.
	Bytes(data []byte, orientation int) (pixels []byte, err error)
	// Pixels takes a picture that was decoded in Go, raw being [h, w, 3].
	Pixels(raw []byte, w, h, orientation int) (pixels []byte, err error)
}

// prepare looks at a picture's headers, bounds its size, and turns it into
// pixels: in TensorFlow where that can decode it, else in Go. The errors are
// Invalid with one of images' codes; info is what the headers told even then.
//
//	pixels  [P, P, 3] uint8, RGB
func prepare(p Preprocessor, data []byte, maxPixels int) (pixels []byte, info images.Info, err error) {
	info, err = images.Inspect(data, maxPixels)
	if err != nil {
		return nil, info, err
	}
	if !info.UseDecode {
		if pixels, err = p.Bytes(data, info.Orientation); err == nil {
			return pixels, info, nil
		}
	}
	// Either TensorFlow has no decoder for the format, or its decoder refused
	// this file. Go's decoders accept some that it does not, and tell better
	// what is wrong with the others.
	raw, w, h, err := images.Decode(data)
	if err != nil {
		return nil, info, err
	}
	pixels, err = p.Pixels(raw, w, h, info.Orientation)
	if err != nil {
		return nil, info, captioner.Wrap(captioner.Internal, err, "the picture cannot be resized")
	}
	return pixels, info, nil
}

// signatures is the Preprocessor inside a SavedModel.
type signatures struct{ model *tf.SavedModel }

func (s signatures) Bytes(data []byte, orientation int) ([]byte, error) {
	input := tf.FromString(string(data))
	defer input.Release()
	return s.run(signaturePreprocess, "image_bytes", input, orientation)
}

func (s signatures) Pixels(raw []byte, w, h, orientation int) ([]byte, error) {
	input := tf.FromBytes(raw, int64(h), int64(w), 3)
	defer input.Release()
	return s.run(signaturePreprocessPixels, "raw_pixels", input, orientation)
}

func (s signatures) run(signature, name string, input *tf.Tensor, orientation int) ([]byte, error) {
	turn := tf.FromInt32([]int32{int32(orientation)})
	defer turn.Release()
	out, err := s.model.Run(signature, map[string]*tf.Tensor{name: input, "orientation": turn}, "pixels")
	if err != nil {
		return nil, err
	}
	defer out[0].Release()
	return append([]byte(nil), out[0].Bytes()...), nil
}
