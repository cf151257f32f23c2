package nn

import "github.com/captioner/captioner/ml/tf"

// DecodeImage decodes a JPEG, PNG, GIF (its first frame) or BMP file.
//
//	data    string []
//	result  [height, width, 3] uint8
func DecodeImage(s *tf.Scope, data tf.Output) tf.Output {
	pixels := tf.Out(s, "DecodeImage", tf.Attrs{"channels": int64(3), "dtype": tf.Uint8, "expand_animations": false}, data)
	return tf.Out(s, "EnsureShape", tf.Attrs{"shape": tf.MakeShape(-1, -1, 3)}, pixels)
}

// ResizeSquare stretches a picture to a square. When it shrinks, every pixel
// is an average over those that it covers (a triangle as wide as the shrinking
// asks for), which keeps small and thin things visible.
//
// Height and width take turns on the outer axis: TensorFlow combines whole rows
// several times as fast as the pixels within one.
//
//	pixels  [height, width, 3] uint8
//	result  [side, side, 3]    uint8
func ResizeSquare(s *tf.Scope, pixels tf.Output, side int) tf.Output {
	rows := resizeOuter(s, pixels, side)                           // [side, width, 3]
	columns := resizeOuter(s, Transpose(s, rows, 1, 0, 2), side)   // [side, side, 3], transposed
	rounded := Cast(s, tf.Out(s, "Round", nil, columns), tf.Uint8) // averages: none is out of range
	return Reshape(s, Transpose(s, rounded, 1, 0, 2), side, side, 3)
}

// resizeOuter stretches a picture along its first axis to the given length.
//
//	pixels  [length, n, 3] of any type
//	result  [to, n, 3]     float32
func resizeOuter(s *tf.Scope, pixels tf.Output, to int) tf.Output {
	sizes := Sizes(s, pixels)
	if len(sizes) != 3 {
		return tf.Output{}
	}
	length, ok := sizes[0].(tf.Output)
	if !ok {
		length = tf.Int(s, int32(sizes[0].(int)))
	}
	scale := tf.Out(s, "RealDiv", nil, tf.Scalar(s, float32(to)), Cast(s, length, tf.Float))
	resized := tf.Out(s, "ScaleAndTranslate", tf.Attrs{"kernel_type": "triangle", "antialias": true},
		Reshape(s, pixels, 1, sizes[0], 1, -1), tf.Ints(s, int32(to), 1), Pack(s, scale, tf.Scalar(s, 1)), tf.Floats(s, []float32{0, 0}))
	return Reshape(s, resized, to, sizes[1], 3)
}

// EXIF's orientations 1 to 8: first rows and columns change places where
// transposed, then rows and columns are reversed. 6, a camera held upright,
// is a quarter turn clockwise.
var (
	transposed      = []bool{false, false, false, false, true, true, true, true}
	reversedRows    = []bool{false, false, true, true, false, false, true, true}
	reversedColumns = []bool{false, true, true, false, false, true, true, false}
)

// Orient turns a picture the way up that its EXIF orientation says; what is
// not in 1 to 8 leaves it as it is.
//
//	pixels       [height, width, 3] uint8
//	orientation  [] int32
//	result       as pixels, height and width swapped for 5 to 8
func Orient(s *tf.Scope, pixels, orientation tf.Output) tf.Output {
	var axes, reversed []int32
	for i := range transposed {
		if transposed[i] {
			axes = append(axes, 1, 0, 2)
		} else {
			axes = append(axes, 0, 1, 2)
		}
		reversed = append(reversed, bit(reversedRows[i]), bit(reversedColumns[i]), 0)
	}
	known := tf.Out(s, "LogicalAnd", nil,
		tf.Out(s, "GreaterEqual", nil, orientation, tf.Int(s, 1)), tf.Out(s, "LessEqual", nil, orientation, tf.Int(s, 8)))
	row := tf.Out(s, "SelectV2", nil, known, Sub(s, orientation, tf.Int(s, 1)), tf.Int(s, 0))
	order := Gather(s, Reshape(s, tf.Ints(s, axes...), 8, 3), row)
	flips := Cast(s, Gather(s, Reshape(s, tf.Ints(s, reversed...), 8, 3), row), tf.Bool)
	// Reverse copies each pixel also where it reverses nothing: most pictures go past it.
	upright := tf.Out(s, "Equal", nil, row, tf.Int(s, 0))
	either := tf.Add(s, "Switch", nil, pixels, upright)
	turned := tf.Out(s, "Reverse", nil, tf.Out(s, "Transpose", nil, either.Output(0), order), flips)
	return tf.Out(s, "Merge", nil, tf.OutputList{turned, either.Output(1)})
}

func bit(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// CropCentre cuts a square of the given side out of the middle.
//
//	pixels  [B, from, from, 3]
//	result  [B, side, side, 3]
func CropCentre(s *tf.Scope, pixels tf.Output, from, side int) tf.Output {
	at := int32((from - side) / 2)
	return Slice(s, pixels, []int32{0, at, at, 0}, []int32{-1, int32(side), int32(side), 3})
}

// Grey replaces the colours by their brightness (ITU-R BT.601) in all three channels.
//
//	x, result  [B, height, width, 3]
func Grey(s *tf.Scope, x tf.Output) tf.Output {
	weighted := Mul(s, x, tf.Floats(s, []float32{0.299, 0.587, 0.114}))
	sum := tf.Out(s, "Sum", tf.Attrs{"keep_dims": true}, weighted, tf.Ints(s, -1)) // [B, height, width, 1]
	return tf.Out(s, "Tile", nil, sum, tf.Ints(s, 1, 1, 1, 3))
}

// Normalise maps pixels from 0…255 to -1…1.
//
//	pixels  [...] uint8
//	result  [...] float32
func Normalise(s *tf.Scope, pixels tf.Output) tf.Output {
	return Sub(s, Scale(s, Cast(s, pixels, tf.Float), 1/127.5), tf.Scalar(s, 1))
}
