package nn

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner/ml/tf"
)

// runBytes runs a graph whose one result is uint8.
func (b *bench) runBytes(y tf.Output) []byte {
	b.Helper()
	b.start(nil)
	results, err := b.session.Run(b.feeds, []tf.Output{y})
	if err != nil {
		b.Fatal(err)
	}
	defer tf.ReleaseAll(results)
	return bytes.Clone(results[0].Bytes())
}

// A picture of 2×2 pixels, as each orientation must show it:
//
//	1 2
//	3 4
//
// The wanted rows are those of the EXIF standard: orientation 6, for one, has
// row 0 of the file at the right-hand side.
func TestOrient(t *testing.T) {
	want := map[int32][]byte{
		1: {1, 2, 3, 4}, 2: {2, 1, 4, 3}, 3: {4, 3, 2, 1}, 4: {3, 4, 1, 2},
		5: {1, 3, 2, 4}, 6: {3, 1, 4, 2}, 7: {4, 2, 3, 1}, 8: {2, 4, 1, 3},
		0: {1, 2, 3, 4}, 9: {1, 2, 3, 4},
	}
	for orientation, grid := range want {
		b := newBench(t, false)
		var pixels, expected []byte
		for i := range 4 {
			pixels = append(pixels, byte(i+1), byte(i+1), 0)
			expected = append(expected, grid[i], grid[i], 0)
		}
		y := Orient(b.s, b.bytes(pixels, 2, 2, 3), b.ints([]int32{orientation}))
		if got := b.runBytes(y); !bytes.Equal(got, expected) {
			t.Errorf("orientation %d: %v, want %v", orientation, got, expected)
		}
	}
}

// No average of the brightest pixels rounds to more than a byte holds, however the
// picture is stretched.
func TestResizeWhite(t *testing.T) {
	for _, size := range [][2]int64{{1, 1}, {7, 5}, {98, 101}, {299, 300}, {375, 500}, {500, 333}, {767, 1023}, {1999, 641}} {
		white := bytes.Repeat([]byte{255}, int(size[0]*size[1]*3))
		for _, side := range []int{97, 299} {
			b := newBench(t, false)
			if got := b.runBytes(ResizeSquare(b.s, b.bytes(white, size[0], size[1], 3), side)); !bytes.Equal(got, bytes.Repeat([]byte{255}, side*side*3)) {
				t.Errorf("%d×%d pixels of 255 are not all 255 at %d", size[0], size[1], side)
			}
		}
	}
}

func TestResizeSquare(t *testing.T) {
	row := func(values ...byte) []byte {
		var pixels []byte
		for _, v := range values {
			pixels = append(pixels, v, v, v)
		}
		return pixels
	}
	tests := []struct {
		name          string
		height, width int64
		in            []byte
		want          []byte
	}{
		{"same size", 2, 2, row(1, 2, 3, 4), row(1, 2, 3, 4)},
		// Weights 3:3:1 over the nearer and the next pixels of each half, the
		// triangle being cut off at the border.
		{"shrunk by two", 4, 4, row(0, 0, 0, 0, 0, 0, 0, 0, 70, 70, 70, 70, 70, 70, 70, 70), row(10, 10, 60, 60)},
		{"stretched flat picture", 1, 3, row(9, 9, 9), row(9, 9, 9, 9)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, false)
			x := tf.Placeholder(b.s, tf.Uint8, -1, -1, 3)
			b.feeds[x] = tf.FromBytes(test.in, test.height, test.width, 3)
			if diff := cmp.Diff(test.want, b.runBytes(ResizeSquare(b.s, x, 2))); diff != "" {
				t.Errorf("pixels (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeImage(t *testing.T) {
	picture := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	picture.Set(0, 0, color.NRGBA{255, 0, 0, 255})
	picture.Set(1, 0, color.NRGBA{1, 2, 3, 255})
	var file bytes.Buffer
	if err := png.Encode(&file, picture); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, false)
	data := tf.Placeholder(b.s, tf.String)
	b.feeds[data] = tf.FromString(file.String())
	want := []byte{255, 0, 0, 1, 2, 3}
	if got := b.runBytes(DecodeImage(b.s, data)); !bytes.Equal(got, want) {
		t.Errorf("pixels %v, want %v", got, want)
	}
}

func TestPixelsToNumbers(t *testing.T) {
	b := newBench(t, false)
	var square []byte
	for i := range 16 {
		square = append(square, byte(i), 0, 0)
	}
	crop := CropCentre(b.s, b.bytes(square, 1, 4, 4, 3), 4, 2)
	normal := Normalise(b.s, b.bytes([]byte{0, 51, 255}, 3))
	grey := Grey(b.s, b.floats([]float32{1, 0.5, -1}, 1, 1, 1, 3))
	cropped := Cast(b.s, crop, tf.Float)
	b.start(nil)
	got := b.run(cropped, normal, grey)
	wantFloats(t, "crop", got[0], []float32{5, 0, 0, 6, 0, 0, 9, 0, 0, 10, 0, 0})
	wantFloats(t, "normalised", got[1], []float32{-1, -0.6, 1})
	wantFloats(t, "grey", got[2], []float32{0.4785, 0.4785, 0.4785}) // 0.299 + 0.2935 - 0.114
}
