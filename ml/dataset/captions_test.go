package dataset_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/dataset"
	"github.com/captioner/captioner/ml/text"
)

// left is what matters of a line that was left out.
type left struct {
	Line   int
	Image  string
	Reason string
}

func leftOut(list []captioner.Quarantined) []left {
	var out []left
	for _, q := range list {
		out = append(out, left{q.Line, q.Image, q.Reason})
	}
	return out
}

func TestReadCaptions(t *testing.T) {
	long := strings.Repeat("dog ", dataset.MaxLineBytes/4)
	for _, c := range []struct {
		name, file string
		want       []dataset.CaptionLine
		left       []left
	}{
		{"empty", "", nil, nil},
		{"header only", "image,caption\n", nil, nil},
		{"header", "image,caption\n1.jpg,A dog .\n", []dataset.CaptionLine{{2, "1.jpg", "A dog ."}}, nil},
		{"no header", "1.jpg,A dog .\n2.jpg,A cat .", []dataset.CaptionLine{{1, "1.jpg", "A dog ."}, {2, "2.jpg", "A cat ."}}, nil},
		{"header in capitals with spaces", "Image, Caption\n1.jpg,a\n", []dataset.CaptionLine{{2, "1.jpg", "a"}}, nil},
		{"other header", "image_name,caption_text\n1.jpg,a\n", []dataset.CaptionLine{{2, "1.jpg", "a"}}, nil},
		{"quoted header after an empty line", "\n\"image\",\"caption\"\n1.jpg,a\n", []dataset.CaptionLine{{3, "1.jpg", "a"}}, nil},
		{"a second header is a picture", "image,caption\n1.jpg,a\nimage,caption\n", []dataset.CaptionLine{{2, "1.jpg", "a"}, {3, "image", "caption"}}, nil},
		{"a picture named like a header's start", "image.jpg,caption\n", []dataset.CaptionLine{{1, "image.jpg", "caption"}}, nil},
		{"CRLF", "image,caption\r\n1.jpg,A dog .\r\n", []dataset.CaptionLine{{2, "1.jpg", "A dog ."}}, nil},
		{"BOM before a header", "\ufeffimage,caption\n1.jpg,a\n", []dataset.CaptionLine{{2, "1.jpg", "a"}}, nil},
		{"BOM before a picture", "\ufeff1.jpg,a\n", []dataset.CaptionLine{{1, "1.jpg", "a"}}, nil},
		{"split at the first comma", "1.jpg,A dog, brown, runs .", []dataset.CaptionLine{{1, "1.jpg", "A dog, brown, runs ."}}, nil},
		{"one quoted field", `1.jpg,"A dog, brown, runs"`, []dataset.CaptionLine{{1, "1.jpg", "A dog, brown, runs"}}, nil},
		{"doubled quotes", `1.jpg,"A sign says ""stop"" ."`, []dataset.CaptionLine{{1, "1.jpg", `A sign says "stop" .`}}, nil},
		{"two quoted words", `1.jpg,"Stop" says a "sign"`, []dataset.CaptionLine{{1, "1.jpg", `"Stop" says a "sign"`}}, nil},
		{"quote at the start alone", `1.jpg,"Stop" says a sign`, []dataset.CaptionLine{{1, "1.jpg", `"Stop" says a sign`}}, nil},
		{"one quote", `1.jpg,5" pipe`, []dataset.CaptionLine{{1, "1.jpg", `5" pipe`}}, nil},
		{"names", "./a.jpg,a\nsub/b c.jpg, b \n\"c.jpg\",\"c\"\n 101.v2.jpg ,d\n", []dataset.CaptionLine{
			{1, "a.jpg", "a"}, {2, "sub/b c.jpg", "b"}, {3, "c.jpg", "c"}, {4, "101.v2.jpg", "d"}}, nil},
		{"names that lead away", "../1.jpg,a\n/etc/passwd,a\na/../../b.jpg,a\n.,a\n,a\na//b.jpg,a\na\x00.jpg,a\n\xff.jpg,a\n", nil, []left{
			{1, "", "invalid_name"}, {2, "", "invalid_name"}, {3, "", "invalid_name"}, {4, "", "invalid_name"},
			{5, "", "invalid_name"}, {6, "", "invalid_name"}, {7, "", "invalid_name"}, {8, "", "invalid_name"}}},
		{"no comma", "image,caption\n1.jpg a dog\n\n  \nxx\n2.jpg,a\n", []dataset.CaptionLine{{6, "2.jpg", "a"}}, []left{{2, "", "no_comma"}, {5, "", "no_comma"}}},
		{"empty captions", "1.jpg,\n2.jpg, \n3.jpg,\"\"\n4.jpg,\u00a0\n", nil, []left{
			{1, "1.jpg", "empty_caption"}, {2, "2.jpg", "empty_caption"}, {3, "3.jpg", "empty_caption"}, {4, "4.jpg", "empty_caption"}}},
		{"punctuation only", "1.jpg,.\n2.jpg,\"!!! ???\"\n3.jpg,\" , \"\n", nil, []left{
			{1, "1.jpg", "no_words"}, {2, "2.jpg", "no_words"}, {3, "3.jpg", "no_words"}}},
		{"what looks like no picture is not shown", "root:x:0:0,\n", nil, []left{{1, "", "empty_caption"}}},
		{"Latin-1 caption", "1.jpg,caf\xe9\n", []dataset.CaptionLine{{1, "1.jpg", "caf\ufffd"}}, nil},
		{"long line", "1.jpg," + long + "\n2.jpg,a\n3.jpg," + long, []dataset.CaptionLine{{2, "2.jpg", "a"}}, []left{{1, "", "line_too_long"}, {3, "", "line_too_long"}}},
		{"long line that fits", "1.jpg," + long[8:] + "\n", []dataset.CaptionLine{{1, "1.jpg", strings.TrimSpace(long[8:])}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			// One byte at a time too: nothing hangs on how the reader splits.
			for _, r := range []io.Reader{strings.NewReader(c.file), iotest.HalfReader(strings.NewReader(c.file))} {
				got, err := dataset.ReadCaptions(r, "auto")
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got.Lines); diff != "" {
					t.Errorf("captions (-want +got):\n%.2000s", diff)
				}
				if diff := cmp.Diff(c.left, leftOut(got.Quarantine)); diff != "" {
					t.Errorf("left out (-want +got):\n%s", diff)
				}
			}
		})
	}
}

func TestReadCaptionsErrors(t *testing.T) {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		_, err := dataset.ReadCaptions(strings.NewReader(mark+"1\x00"), "auto")
		if captioner.KindOf(err) != captioner.Invalid || !strings.Contains(err.Error(), "UTF-16") {
			t.Errorf("UTF-16: error %v, want Invalid", err)
		}
	}
	broken := errors.New("disk gone")
	_, err := dataset.ReadCaptions(io.MultiReader(strings.NewReader("1.jpg,a\n2.jp"), iotest.ErrReader(broken)), "auto")
	if !errors.Is(err, broken) || captioner.KindOf(err) != captioner.Internal {
		t.Errorf("failing reader: error %v, want Internal", err)
	}
}

// A line of a gigabyte without a break is passed over in little memory.
func TestEndlessLine(t *testing.T) {
	endless := io.LimitReader(zeros{}, 64<<20)
	got, err := dataset.ReadCaptions(io.MultiReader(endless, strings.NewReader("\n1.jpg,a dog\n")), "auto")
	if err != nil || len(got.Lines) != 1 || got.Lines[0].Line != 2 || len(got.Quarantine) != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func FuzzReadCaptions(f *testing.F) {
	f.Add([]byte("\ufeffimage,caption\r\n1.jpg,\"a \"\"dog\"\"\"\r\n../x,y\n,\n"))
	f.Add([]byte("\xff\xfe1"))
	for _, name := range fixtures {
		f.Add(readFixture(f, name))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := dataset.ReadCaptions(bytes.NewReader(data), "auto")
		if err != nil {
			return
		}
		last := 0
		for _, l := range got.Lines {
			if l.Line <= last || text.Clean(l.Caption) == "" || l.Image == "" || strings.HasPrefix(l.Image, "/") || strings.Contains("/"+l.Image+"/", "/../") {
				t.Fatalf("%+v", l)
			}
			last = l.Line
		}
		for _, q := range got.Quarantine {
			if q.Line < 1 || q.Reason == "" || q.Detail == "" {
				t.Fatalf("%+v", q)
			}
		}
	})
}

func BenchmarkReadCaptions(b *testing.B) {
	file := strings.Repeat("1000268201_693b08cb0e.jpg,A child in a pink dress is climbing up a set of stairs in an entry way .\n", 10_000)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := dataset.ReadCaptions(strings.NewReader(file), "auto"); err != nil {
			b.Fatal(err)
		}
	}
}
