package images_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/images"
)

const maxPixels = 50_000_000

// expected is an entry of testdata/expected.json, made by testdata/make.py
// with Pillow: what another decoder sees.
type expected struct {
	Format                     string
	Width, Height, Orientation int
	RGB                        []byte
}

func readExpected(t testing.TB) map[string]expected {
	t.Helper()
	data, err := os.ReadFile("testdata/expected.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]expected
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 30 {
		t.Fatalf("testdata/expected.json has %d pictures", len(all))
	}
	return all
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What TensorFlow's DecodeImage shows as it is; the rest needs Decode.
var forTensorFlow = map[string]bool{
	"baseline.jpg": true, "subsampled.jpg": true, "progressive.jpg": true, "restart.jpg": true, "grey.jpg": true,
	"cmyk.jpg": true, "orientation6.jpg": true, "rgb.png": true, "grey.png": true, "grey16.png": true, "bits1.png": true,
	"palette.png": true, "orientation6.png": true,
}

func TestInspectFiles(t *testing.T) {
	for name, want := range readExpected(t) {
		t.Run(name, func(t *testing.T) {
			wantInfo := images.Info{Format: want.Format, Width: want.Width, Height: want.Height, Orientation: want.Orientation, UseDecode: !forTensorFlow[name]}
			got, err := images.InspectFile(filepath.Join("testdata", name), maxPixels)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(wantInfo, got); diff != "" {
				t.Errorf("InspectFile (-want +got):\n%s", diff)
			}
			if got, err := images.Inspect(readFile(t, name), maxPixels); err != nil || got != wantInfo {
				t.Errorf("Inspect: %+v, %v, want %+v", got, err, wantInfo)
			}
		})
	}
}

// The lossless formats agree exactly with Pillow. JPEG and lossy WebP leave
// the decoder some freedom (transforms, how chroma is enlarged).
func TestDecodeFiles(t *testing.T) {
	tolerance := map[string]int{
		"baseline.jpg": 3, "progressive.jpg": 3, "restart.jpg": 3, "grey.jpg": 2, "cmyk.jpg": 4, "orientation6.jpg": 3, "subsampled.jpg": 16,
		"lossy.webp": 16, "lossy_alpha.webp": 16, "animated_alpha.webp": 16, "orientation6.webp": 16,
		"contrast.webp": 2,
		"rgba.png":      1, "grey_alpha.png": 1, "lossless_alpha.webp": 1, // how half transparent is rounded
	}
	for name, want := range readExpected(t) {
		t.Run(name, func(t *testing.T) {
			pixels, w, h, err := images.Decode(readFile(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if w != want.Width || h != want.Height || len(pixels) != len(want.RGB) {
				t.Fatalf("%d × %d with %d bytes, want %d × %d with %d", w, h, len(pixels), want.Width, want.Height, len(want.RGB))
			}
			worst, sum := 0, 0
			for i := range pixels {
				d := max(int(pixels[i])-int(want.RGB[i]), int(want.RGB[i])-int(pixels[i]))
				worst, sum = max(worst, d), sum+d
			}
			if worst > tolerance[name] {
				t.Errorf("a value is %d off, %.2f on average; allowed is %d", worst, float64(sum)/float64(len(pixels)), tolerance[name])
			}
		})
	}
}

func TestWrongExtension(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dog.png")
	if err := os.WriteFile(path, readFile(t, "baseline.jpg"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := images.InspectFile(path, maxPixels); err != nil || got.Format != images.JPEG {
		t.Errorf("a JPEG named dog.png is %+v, %v", got, err)
	}
}

// tiff returns EXIF data with the orientation behind two other entries.
func tiff(order binary.AppendByteOrder, kind uint16, value uint32) []byte {
	magic := "II*\x00"
	if order.String() == "BigEndian" {
		magic = "MM\x00*"
	}
	b := order.AppendUint32([]byte(magic), 8)
	b = order.AppendUint16(b, 3)
	entry := func(tag, kind uint16, value []byte) {
		b = order.AppendUint16(b, tag)
		b = order.AppendUint16(b, kind)
		b = order.AppendUint32(b, 1)
		b = append(b, value...)
	}
	entry(0x0100, 4, []byte{1, 2, 3, 4})
	entry(0x0110, 2, []byte{'x', 0, 0, 0})
	if kind == 3 {
		entry(0x0112, kind, order.AppendUint16(order.AppendUint16(nil, uint16(value)), 0))
	} else {
		entry(0x0112, kind, order.AppendUint32(nil, value))
	}
	return append(b, 0, 0, 0, 0)
}

// withEXIF puts EXIF data into a JPEG file, after another APP1 segment.
func withEXIF(file, exif []byte) []byte {
	out := slices.Clone(file[:2])
	for _, payload := range [][]byte{[]byte("http://ns.adobe.com/xap/1.0/\x00<x/>"), append([]byte("Exif\x00\x00"), exif...)} {
		out = append(out, 0xff, 0xe1)
		out = binary.BigEndian.AppendUint16(out, uint16(len(payload)+2))
		out = append(out, payload...)
	}
	return append(out, file[2:]...)
}

func TestOrientation(t *testing.T) {
	file := readFile(t, "baseline.jpg")
	type test struct {
		name string
		exif []byte
		want int
	}
	var tests []test
	for o := range 8 {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			tests = append(tests, test{fmt.Sprintf("%d %s", o+1, order), tiff(order, 3, uint32(o+1)), o + 1})
		}
	}
	valid := tiff(binary.BigEndian, 3, 6)
	tests = append(tests,
		test{"as long", tiff(binary.LittleEndian, 4, 8), 8},
		test{"0", tiff(binary.BigEndian, 3, 0), 1},
		test{"9", tiff(binary.BigEndian, 3, 9), 1},
		test{"of an odd type", tiff(binary.BigEndian, 7, 6), 1},
		test{"no data", nil, 1},
		test{"cut off", valid[:len(valid)-10], 1},
		test{"directory outside", append(slices.Clone(valid[:4]), 0xff, 0xff, 0xff, 0xff), 1},
		test{"neither byte order", append([]byte("XX"), valid[2:]...), 1},
	)
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			got, err := images.Inspect(withEXIF(file, c.exif), maxPixels)
			if err != nil || got.Orientation != c.want {
				t.Fatalf("orientation %d, %v, want %d", got.Orientation, err, c.want)
			}
			w, h := got.Oriented()
			if turned := c.want >= 5; turned != (w == got.Height && h == got.Width) {
				t.Errorf("%d × %d with orientation %d is seen as %d × %d", got.Width, got.Height, c.want, w, h)
			}
		})
	}
}

// pngFile returns a PNG file whose header claims what is given.
func pngFile(width, height uint32, depth, colour byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("IHDR"), width)
	b = binary.BigEndian.AppendUint32(b, height)
	b = append(b, depth, colour, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n"), 0, 0, 0, 13)
	out = append(out, b...)
	out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(b))
	for _, kind := range []string{"IDAT", "IEND"} {
		out = append(append(out, 0, 0, 0, 0), kind...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE([]byte(kind)))
	}
	return out
}

// patched returns a copy of data with other bytes at a place.
func patched(data []byte, at int, with ...byte) []byte {
	out := slices.Clone(data)
	copy(out[at:], with)
	return out
}

// bombs are small files whose headers claim 65535 × 65535 pixels or the most
// that the format can say.
func bombs(t testing.TB) map[string][]byte {
	jpg := readFile(t, "baseline.jpg")
	sof := bytes.Index(jpg, []byte{0xff, 0xc0})
	bmp := readFile(t, "rgb.bmp")
	lossless := readFile(t, "lossless.webp")
	lossy := readFile(t, "lossy.webp")
	animated := readFile(t, "animated.webp")
	anim := readFile(t, "animated.gif")
	frame := bytes.Index(anim, []byte{0x2c, 0, 0, 0, 0, 22, 0, 14, 0})
	return map[string][]byte{
		"jpeg":          patched(jpg, sof+5, 0xff, 0xff, 0xff, 0xff),
		"png":           pngFile(65535, 65535, 8, 2),
		"png of 2^31":   pngFile(1<<31-1, 1<<31-1, 8, 2),
		"gif frame":     patched(anim, frame+5, 0xff, 0xff, 0xff, 0xff),
		"gif screen":    patched(anim, 6, 0xff, 0xff, 0xff, 0xff),
		"bmp":           patched(bmp, 18, 0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0),
		"bmp top down":  patched(bmp, 18, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0x80),
		"webp lossy":    patched(lossy, bytes.Index(lossy, []byte("VP8 "))+8+6, 0xff, 0x3f, 0xff, 0x3f),
		"webp lossless": patched(lossless, bytes.Index(lossless, []byte("VP8L"))+8+1, 0xff, 0xff, 0xff, 0x0f),
		"webp canvas":   patched(animated, bytes.Index(animated, []byte("VP8X"))+8+4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	}
}

func TestHugeHeadersAreRefusedBeforeAllocating(t *testing.T) {
	for name, data := range bombs(t) {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := images.Inspect(data, maxPixels)
			runtime.ReadMemStats(&after)
			checkCode(t, err, images.CodeTooLarge)
			if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 1<<20 {
				t.Errorf("Inspect allocates %d bytes", allocated)
			}
		})
	}
}

func TestMaxPixelsIsInclusive(t *testing.T) {
	for name, want := range readExpected(t) {
		data := readFile(t, name)
		if _, err := images.Inspect(data, want.Width*want.Height); err != nil {
			t.Errorf("%s: as many pixels as allowed: %v", name, err)
		}
		_, err := images.Inspect(data, want.Width*want.Height-1)
		checkCode(t, err, images.CodeTooLarge)
	}
}

// Of each prefix of a file either Inspect or Decode says that it is broken,
// and Inspect does for all that end before the picture's data.
func TestTruncated(t *testing.T) {
	// Where all of the first frame is there, the rest may be missing.
	whole := map[string]bool{"animated.gif": true, "still.gif": true, "transparent.gif": true}
	for name := range readExpected(t) {
		t.Run(name, func(t *testing.T) {
			data := readFile(t, name)
			seen := 0
			for n := 1; n < len(data); n++ {
				_, err := images.Inspect(data[:n], maxPixels)
				if err == nil {
					seen++
					_, _, _, err = images.Decode(data[:n])
				}
				if err == nil && whole[name] {
					continue
				}
				if n < 6 && captioner.CodeOf(err) == images.CodeUnsupported {
					continue // too few bytes to tell what it was
				}
				if code := captioner.CodeOf(err); code != images.CodeTruncated {
					t.Fatalf("the first %d of %d bytes: error %v with code %q, want %q", n, len(data), err, code, images.CodeTruncated)
				}
			}
			if !whole[name] && seen > 0 {
				t.Errorf("Inspect takes %d of %d cut files", seen, len(data)-1)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	jpg, gifData, webp := readFile(t, "baseline.jpg"), readFile(t, "still.gif"), readFile(t, "lossless.webp")
	sof := bytes.Index(jpg, []byte{0xff, 0xc0})
	bmp := readFile(t, "rgb.bmp")
	for _, c := range []struct {
		name string
		data []byte
		code string
	}{
		{"nothing", nil, images.CodeEmpty},
		{"text", []byte("a dog runs over the grass"), images.CodeUnsupported},
		{"TIFF", []byte("II*\x00\x08\x00\x00\x00 and so on"), images.CodeUnsupported},
		{"RIFF that is sound", []byte("RIFF\x24\x00\x00\x00WAVEfmt "), images.CodeUnsupported},
		{"end of JPEG missing", jpg[:len(jpg)-2], images.CodeTruncated},
		{"JPEG of 0 pixels", patched(jpg, sof+5, 0, 0, 0, 0), images.CodeCorrupt},
		{"JPEG of 12 bit", patched(jpg, sof+4, 12), images.CodeUnsupported},
		{"lossless JPEG", patched(jpg, sof+1, 0xc3), images.CodeUnsupported},
		{"arithmetic JPEG", patched(jpg, sof+1, 0xc9), images.CodeUnsupported},
		{"JPEG of two components", patched(jpg, sof+9, 2), images.CodeUnsupported},
		{"JPEG with a wrong frame header", patched(jpg, sof+9, 1), images.CodeCorrupt},
		{"JPEG without frame", append(slices.Clone(jpg[:sof]), jpg[sof+19:]...), images.CodeCorrupt},
		{"JPEG with two frames", append(slices.Clone(jpg[:sof+19]), jpg[sof:]...), images.CodeCorrupt},
		{"JPEG with an empty segment", []byte{0xff, 0xd8, 0xff, 0xe0, 0, 1, 0xff, 0xd9}, images.CodeCorrupt},
		{"JPEG of two markers", []byte{0xff, 0xd8, 0xff, 0xd9}, images.CodeCorrupt},
		{"PNG with a damaged header", patched(pngFile(8, 8, 8, 2), 20, 7), images.CodeCorrupt},
		{"PNG of an impossible depth", pngFile(8, 8, 4, 2), images.CodeCorrupt},
		{"PNG of an impossible colour", pngFile(8, 8, 8, 5), images.CodeCorrupt},
		{"PNG of 0 pixels", pngFile(0, 8, 8, 2), images.CodeCorrupt},
		{"PNG without data", slices.Delete(pngFile(8, 8, 8, 2), 33, 45), images.CodeCorrupt},
		{"GIF without picture", append(slices.Clone(gifData[:13+3<<(gifData[10]&7+1)]), 0x3b), images.CodeCorrupt},
		{"GIF with an unknown block", append(slices.Clone(gifData[:13+3<<(gifData[10]&7+1)]), 0x77), images.CodeCorrupt},
		{"GIF frame of 0 pixels", patched(gifData, bytes.Index(gifData, []byte{0x2c, 0, 0, 0, 0, 22})+5, 0, 0), images.CodeCorrupt},
		{"BMP of 0 pixels", patched(bmp, 18, 0, 0, 0, 0, 0, 0, 0, 0), images.CodeCorrupt},
		{"compressed BMP", patched(bmp, 30, 1), images.CodeUnsupported},
		{"WebP without picture", append([]byte("RIFF\x04\x00\x00\x00WEBP"), 0, 0), images.CodeCorrupt},
		{"WebP of a damaged frame", patched(webp, 20, 0), images.CodeCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := images.Inspect(c.data, maxPixels)
			checkCode(t, err, c.code)
			if want := strings.TrimPrefix(c.code, "image_"); images.Reason(err) != want {
				t.Errorf("Reason = %q, want %q", images.Reason(err), want)
			}
			if _, _, _, err := images.Decode(c.data); err == nil {
				t.Error("Decode takes it")
			}
		})
	}
}

func checkCode(t *testing.T, err error, want string) {
	t.Helper()
	if captioner.KindOf(err) != captioner.Invalid || captioner.CodeOf(err) != want {
		t.Errorf("error %v of kind %q with code %q, want Invalid with %q", err, captioner.KindOf(err), captioner.CodeOf(err), want)
	}
}

// Damage in the compressed data passes Inspect and is found by Decode.
func TestDamagedData(t *testing.T) {
	data := readFile(t, "rgb.png")
	at := bytes.Index(data, []byte("IDAT")) + 40
	bad := patched(data, at, ^data[at])
	if _, err := images.Inspect(bad, maxPixels); err != nil {
		t.Fatalf("Inspect: %v", err)
	}
	_, _, _, err := images.Decode(bad)
	checkCode(t, err, images.CodeCorrupt)
}

// What cannot be stored in testdata as easily: pictures made here.
func TestDecodeMade(t *testing.T) {
	const w, h = 5, 40 // more rows than are converted at once
	deep := image.NewNRGBA64(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			deep.SetNRGBA64(x, y, color.NRGBA64{uint16(x) << 13, uint16(y) << 10, 0x80ff, 0xffff})
		}
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, deep); err != nil {
		t.Fatal(err)
	}
	pixels, gotW, gotH, err := images.Decode(buf.Bytes())
	if err != nil || gotW != w || gotH != h {
		t.Fatalf("16 bit PNG: %d × %d, %v", gotW, gotH, err)
	}
	for y := range h {
		for x := range w {
			want := []byte{byte(x << 5), byte(y << 2), 0x80}
			if got := pixels[(y*w+x)*3:][:3]; !bytes.Equal(got, want) {
				t.Fatalf("16 bit PNG at %d, %d: %v, want %v", x, y, got, want)
			}
		}
	}
}

// A first frame that does not cover the screen lies on white; one that sticks
// out enlarges the screen.
func TestGIFFramePlacement(t *testing.T) {
	red := color.RGBA{255, 0, 0, 255}
	frame := image.NewPaletted(image.Rect(2, 1, 4, 3), color.Palette{red, color.White})
	var buf bytes.Buffer
	g := &gif.GIF{Image: []*image.Paletted{frame}, Delay: []int{0}, Config: image.Config{ColorModel: frame.Palette, Width: 6, Height: 4}}
	if err := gif.EncodeAll(&buf, g); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		w, h int
	}{
		{"within", buf.Bytes(), 6, 4},
		{"sticks out", patched(buf.Bytes(), 6, 3, 0, 2, 0), 4, 3},
		{"no screen", patched(buf.Bytes(), 6, 0, 0, 0, 0), 4, 3},
	} {
		pixels, w, h, err := images.Decode(c.data)
		if err != nil || w != c.w || h != c.h {
			t.Errorf("%s: %d × %d, %v, want %d × %d", c.name, w, h, err, c.w, c.h)
			continue
		}
		for y := range h {
			for x := range w {
				want := []byte{255, 255, 255}
				if image.Pt(x, y).In(frame.Rect) {
					want = []byte{255, 0, 0}
				}
				if got := pixels[(y*w+x)*3:][:3]; !bytes.Equal(got, want) {
					t.Errorf("%s: %v at %d, %d, want %v", c.name, got, x, y, want)
				}
			}
		}
	}
}

// counting is a file of which only little may be read.
type counting struct {
	io.ReaderAt
	read int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.read += n
	return n, err
}

func TestInspectReadsLittle(t *testing.T) {
	var buf bytes.Buffer
	img := image.NewGray(image.Rect(0, 0, 2000, 2000))
	for i := range img.Pix {
		img.Pix[i] = byte(i * i >> 3)
	}
	if err := jpeg.Encode(&buf, img, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	c := &counting{ReaderAt: bytes.NewReader(buf.Bytes())}
	if _, err := images.InspectReader(c, int64(buf.Len()), maxPixels); err != nil {
		t.Fatal(err)
	}
	if buf.Len() < 500_000 || c.read > 20_000 {
		t.Errorf("%d of %d bytes read", c.read, buf.Len())
	}
}

type brokenDisk struct{}

func (brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

func TestFileErrors(t *testing.T) {
	if _, err := images.InspectFile(filepath.Join(t.TempDir(), "none.jpg"), maxPixels); captioner.KindOf(err) != captioner.NotFound {
		t.Errorf("missing file: %v, want NotFound", err)
	}
	_, err := images.InspectFile(t.TempDir(), maxPixels)
	checkCode(t, err, images.CodeUnsupported)
	_, err = images.InspectReader(brokenDisk{}, 100, maxPixels)
	if captioner.KindOf(err) != captioner.Internal || images.Reason(err) != "unreadable" {
		t.Errorf("failing disk: %v with reason %q, want Internal and unreadable", err, images.Reason(err))
	}
	_, err = images.InspectReader(bytes.NewReader([]byte{0xff, 0xd8, 0xff}), 100, maxPixels) // shrunk meanwhile
	checkCode(t, err, images.CodeTruncated)
}

var codes = []string{images.CodeEmpty, images.CodeUnsupported, images.CodeTruncated, images.CodeCorrupt, images.CodeTooLarge}

// Whatever the bytes: no panic, a known code or a picture within the limit,
// and Decode agrees about its size.
func FuzzInspect(f *testing.F) {
	for name := range readExpected(f) {
		f.Add(readFile(f, name))
	}
	for _, data := range bombs(f) {
		f.Add(data)
	}
	f.Add(withEXIF(readFile(f, "baseline.jpg"), tiff(binary.BigEndian, 3, 6)))
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		info, err := images.Inspect(data, limit)
		if err != nil {
			if captioner.KindOf(err) != captioner.Invalid || !slices.Contains(codes, captioner.CodeOf(err)) {
				t.Fatalf("Inspect: %v with code %q", err, captioner.CodeOf(err))
			}
			return
		}
		if info.Width < 1 || info.Height < 1 || info.Width*info.Height > limit || info.Orientation < 1 || info.Orientation > 8 {
			t.Fatalf("Inspect: %+v", info)
		}
		pixels, w, h, err := images.Decode(data)
		if err != nil {
			if captioner.KindOf(err) != captioner.Invalid || !slices.Contains(codes, captioner.CodeOf(err)) {
				t.Fatalf("Decode: %v with code %q", err, captioner.CodeOf(err))
			}
			return
		}
		if w != info.Width || h != info.Height || len(pixels) != w*h*3 {
			t.Fatalf("Decode: %d × %d with %d bytes, Inspect says %d × %d", w, h, len(pixels), info.Width, info.Height)
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	data := readFile(b, "orientation6.jpg")
	for b.Loop() {
		if _, err := images.Inspect(data, maxPixels); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleInspect() {
	data, _ := base64.StdEncoding.DecodeString("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
	info, err := images.Inspect(data, 1_000_000)
	fmt.Println(info.Format, info.Width, info.Height, err)
	_, err = images.Inspect(data[:20], 1_000_000)
	fmt.Println(captioner.CodeOf(err))
	// Output:
	// gif 1 1 <nil>
	// image_truncated
}
