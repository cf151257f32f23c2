package demodata

import (
	"image"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/captioner/captioner"
)

// described is a scene with its references, as the default data set has it.
type described struct {
	Scene
	references []string
}

var cachedScenes []described

// defaultScenes returns the default data set without drawing it.
func defaultScenes() []described {
	if cachedScenes == nil {
		opt := Options{Images: DefaultImages, Seed: DefaultSeed}
		p := newPlan(opt)
		for i := range opt.Images {
			s := p.scene(opt.Seed, i)
			cachedScenes = append(cachedScenes, described{s, references(stream(opt.Seed, captionStream, i), s)})
		}
	}
	return cachedScenes
}

func words(caption string) []string {
	return strings.Fields(strings.NewReplacer(",", " ", ".", " ").Replace(strings.ToLower(caption)))
}

func TestSplits(t *testing.T) {
	got := map[captioner.Split]int{}
	unseen := 0
	kept := newPlan(Options{Images: DefaultImages, Seed: DefaultSeed}).unseen
	seen := map[string]int{}
	for _, s := range defaultScenes() {
		got[s.Split]++
		shown := intersect(s.Pairs(), kept)
		if len(shown) > 0 && s.Split != captioner.Test {
			t.Errorf("%s of split %s shows the unseen %v", s.Image, s.Split, shown)
		}
		for _, r := range s.references {
			if named := intersect(Pairs(r), kept); len(named) > 0 && s.Split != captioner.Test {
				t.Errorf("%s of split %s: %q names an unseen pair", s.Image, s.Split, r)
			}
		}
		if len(shown) > 0 {
			unseen++
		}
		if s.Split == captioner.Train {
			for _, p := range s.Pairs() {
				seen[string(p.Colour)]++
				seen[string(p.Shape)]++
				seen[p.String()]++
			}
		}
	}
	want := map[captioner.Split]int{captioner.Train: 2000, captioner.Validation: 200, captioner.Test: 300}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("splits (-want +got):\n%s", diff)
	}
	if unseen != 36 || len(kept) != unseenPairs {
		t.Errorf("%d pictures show one of %d unseen pairs, want 36 and %d", unseen, len(kept), unseenPairs)
	}
	// 8 colours, 8 shapes, and all pairs of them but the unseen ones.
	if want := 8 + 8 + 64 - unseenPairs; len(seen) != want {
		t.Errorf("%d colours, shapes and pairs in training, want %d", len(seen), want)
	}
}

func TestSplitSizes(t *testing.T) {
	tests := []struct{ images, train, validation, test int }{
		{2500, 2000, 200, 300},
		{10000, 8000, 800, 1200},
		{600, 480, 48, 72},
		{10, 8, 1, 1},
	}
	for _, tt := range tests {
		train, validation := splitSizes(tt.images)
		if test := tt.images - train - validation; train != tt.train || validation != tt.validation || test != tt.test {
			t.Errorf("splitSizes(%d) = %d, %d, %d; want %d, %d, %d", tt.images, train, validation, test, tt.train, tt.validation, tt.test)
		}
	}
}

// What is drawn must be there to be seen: nothing overlaps or is cut off, and
// the smallest object is at least 14 pixels wide and high at 96 × 96.
func TestObjectsAreClear(t *testing.T) {
	numbers := map[int]int{}
	combinations := map[string]bool{}
	for _, s := range defaultScenes() {
		numbers[len(s.Objects)]++
		for i, o := range s.Objects {
			combinations[strings.Join([]string{string(o.Colour), string(o.Shape), string(o.Size), string(o.Texture)}, " ")] = true
			if w, h := 2*o.Radius*96/float64(s.Width), 2*o.Radius*96/float64(s.Height); w < 14 || h < 14 {
				t.Errorf("%s: object %d is %.1f × %.1f pixels of 96 × 96", s.Image, i, w, h)
			}
			if o.X < o.Radius || o.Y < o.Radius || o.X > float64(s.Width)-o.Radius || o.Y > float64(s.Height)-o.Radius {
				t.Errorf("%s: object %d leaves the picture", s.Image, i)
			}
			for j, other := range s.Objects[:i] {
				if distance(o, other) < o.Radius+other.Radius {
					t.Errorf("%s: objects %d and %d overlap", s.Image, i, j)
				}
			}
		}
	}
	for n := 1; n <= 4; n++ {
		if numbers[n] < 250 {
			t.Errorf("%d scenes of %d objects, want at least a tenth", numbers[n], n)
		}
	}
	if len(numbers) != 4 {
		t.Errorf("numbers of objects = %v, want 1 to 4", numbers)
	}
	if total := 8 * 8 * 3 * 3; len(combinations) < total*9/10 {
		t.Errorf("%d of %d combinations of colour, shape, size and texture occur", len(combinations), total)
	}
}

func TestReferenceLengthAndVocabulary(t *testing.T) {
	vocabulary := map[string]int{}
	for _, s := range defaultScenes() {
		if got := len(unique(slices.Clone(s.references))); got != 5 {
			t.Errorf("%s has %d different references, want 5", s.Image, got)
		}
		for _, r := range s.references {
			if n := len(words(r)); n < 8 || n > 20 {
				t.Errorf("%s: %q has %d words, want 8 to 20", s.Image, r, n)
			}
			if s.Split == captioner.Train {
				for _, w := range words(r) {
					vocabulary[w]++
				}
			}
		}
	}
	if len(vocabulary) < 100 || len(vocabulary) > 150 {
		t.Errorf("%d words, want 100 to 150", len(vocabulary))
	}
	for w, n := range vocabulary {
		if n < 20 {
			t.Errorf("%q occurs %d times: too rare to be learned", w, n)
		}
	}
}

// Every reference names only what is there, and nearly all name everything.
func TestReferencesNameTheScene(t *testing.T) {
	all, total := 0, 0
	for _, s := range defaultScenes() {
		whole := false
		for _, r := range s.references {
			if p := PairPrecision(r, s.Scene); p != 1 {
				t.Errorf("%s: %q has pair precision %v", s.Image, r, p)
			}
			total++
			if len(Pairs(r)) == len(s.Pairs()) {
				all++
				whole = true
			}
		}
		if !whole {
			t.Errorf("%s: no reference names all of %v", s.Image, s.Pairs())
		}
	}
	if share := float64(all) / float64(total); share < 0.9 || share == 1 {
		t.Errorf("%.3f of the references name every pair, want 0.9 or more, but not all", share)
	}
}

// phrase is a noun phrase: count or article, adjectives, colour, shape.
var phrase = func() *regexp.Regexp {
	any := func(tables ...[]word) string {
		var all []string
		for w := range wordMeanings[string](tables...) {
			all = append(all, w)
		}
		slices.Sort(all)
		slices.Reverse(all) // longer before shorter
		return "(" + strings.Join(all, "|") + ")"
	}
	return regexp.MustCompile(`(an|a pair of|a|two|three) (?:` + any(sizeWords) + ` )?(?:` + any(textureWords) + ` )?` +
		any(colourWords) + ` ` + any(shapeWords) + `\b`)
}()

// TestReferencesAreTrue reads each caption with a grammar of its own and
// checks counts, sizes, textures, relations and background by the numbers.
func TestReferencesAreTrue(t *testing.T) {
	number := map[string]int{"a": 1, "an": 1, "a pair of": 2, "two": 2, "three": 3}
	sizeOf, textureOf := wordMeanings[Size](sizeWords), wordMeanings[Texture](textureWords)
	toneOf := wordMeanings[Tone](toneWords)
	used := map[string]int{}
	for _, s := range defaultScenes() {
		for _, r := range s.references {
			text := strings.Join(words(r), " ")
			found := phrase.FindAllStringSubmatchIndex(text, -1)
			if len(found) != len(Pairs(r)) {
				t.Errorf("%s: %q has %d noun phrases and %d pairs", s.Image, r, len(found), len(Pairs(r)))
			}
			var before []Object
			end := 0
			for _, at := range found {
				part := func(n int) string {
					if at[2*n] < 0 {
						return ""
					}
					return text[at[2*n]:at[2*n+1]]
				}
				objects := s.like(colourOf[part(4)], shapeOf[part(5)])
				if len(objects) != number[part(1)] {
					t.Errorf("%s: %q: %q, but there are %d", s.Image, r, text[at[0]:at[1]], len(objects))
				}
				for _, o := range objects {
					if part(2) != "" && sizeOf[part(2)] != o.Size || part(3) != "" && textureOf[part(3)] != o.Texture {
						t.Errorf("%s: %q: %q, but it is %s and %s", s.Image, r, text[at[0]:at[1]], o.Size, o.Texture)
					}
				}
				if rel := relationIn(text[end:at[0]]); rel != "" {
					used[rel]++
					if !plainlyTrue(s.Scene, rel, before, objects) {
						t.Errorf("%s: %q is not %s", s.Image, r, rel)
					}
				}
				before, end = objects, at[1]
			}
			if m := onBackground.FindStringSubmatch(text); m != nil {
				used["background"]++
				if toneOf[m[1]] != s.Background.Tone {
					t.Errorf("%s: %q, but it is %s", s.Image, r, s.Background.Tone)
				}
			}
		}
	}
	for _, rel := range []string{"left", "right", "above", "below", "near", "background"} {
		if used[rel] < 100 {
			t.Errorf("%q is said %d times, want 100 or more: %v", rel, used[rel], used)
		}
	}
}

// like returns the objects of a colour and shape.
func (s Scene) like(c Colour, shape Shape) []Object {
	var out []Object
	for _, o := range s.Objects {
		if o.Colour == c && o.Shape == shape {
			out = append(out, o)
		}
	}
	return out
}

// relationIn finds the relation said between two noun phrases.
func relationIn(text string) string {
	for said, rel := range map[string]string{
		"left of": "left", "right of": "right", "above": "above", "over": "above", "below": "below", "under": "below",
		"near": "near", "next to": "near", "close to": "near",
	} {
		if strings.Contains(text, said) {
			return rel
		}
	}
	return ""
}

var onBackground = regexp.MustCompile(`on an? (\w+) (?:background|surface|backdrop)`)

// plainlyTrue says by the outlines whether the relation holds for all: one
// lies wholly before the other begins, but for a tenth of their radii.
func plainlyTrue(s Scene, rel string, as, bs []Object) bool {
	for _, a := range as {
		for _, b := range bs {
			slack := 0.1 * (a.Radius + b.Radius)
			var ok bool
			switch rel {
			case "left":
				ok = a.X+a.Radius < b.X-b.Radius+slack && math.Abs(a.X-b.X) > math.Abs(a.Y-b.Y)
			case "right":
				ok = b.X+b.Radius < a.X-a.Radius+slack && math.Abs(a.X-b.X) > math.Abs(a.Y-b.Y)
			case "above":
				ok = a.Y+a.Radius < b.Y-b.Radius+slack && math.Abs(a.Y-b.Y) > math.Abs(a.X-b.X)
			case "below":
				ok = b.Y+b.Radius < a.Y-a.Radius+slack && math.Abs(a.Y-b.Y) > math.Abs(a.X-b.X)
			case "near":
				ok = math.Hypot(a.X-b.X, a.Y-b.Y)-a.Radius-b.Radius < 0.13*float64(min(s.Width, s.Height))
			}
			if !ok {
				return false
			}
		}
	}
	return len(as) > 0 && len(bs) > 0
}

// TestPositionsAreTrue checks what is said of a single object's place.
func TestPositionsAreTrue(t *testing.T) {
	said := 0
	position := regexp.MustCompile(`in the (middle|center)|on the (left|right)|at the (top|bottom)|in the (top|bottom) (left|right) corner`)
	for _, s := range defaultScenes() {
		for _, r := range s.references {
			m := position.FindStringSubmatch(r)
			if m == nil {
				continue
			}
			said++
			o := s.Objects[0]
			x, y := o.X/float64(s.Width), o.Y/float64(s.Height)
			ok := len(s.Objects) == 1
			for _, w := range m[1:] {
				switch w {
				case "left":
					ok = ok && x < 0.4
				case "right":
					ok = ok && x > 0.6
				case "top":
					ok = ok && y < 0.4
				case "bottom":
					ok = ok && y > 0.6
				case "middle", "center":
					ok = ok && max(math.Abs(x-0.5), math.Abs(y-0.5)) < 0.1
				}
			}
			if !ok {
				t.Errorf("%s: %q, but it is at %.2f, %.2f", s.Image, r, x, y)
			}
		}
	}
	if said < 500 {
		t.Errorf("a position is said %d times, want 500 or more", said)
	}
}

// TestGreyLevels bounds how often the best guess of a colour from a clean grey
// level (Rec. 601) is right. By chance it is one in eight.
func TestGreyLevels(t *testing.T) {
	const draws, bins = 20_000, 32
	r := rand.New(rand.NewPCG(1, 2))
	var most [bins]float64
	for _, c := range colours() {
		var share [bins]float64
		for range draws {
			v := drawColour(r, c)
			share[int(bins*min(0.299*v[0]+0.587*v[1]+0.114*v[2], 0.999))] += 1. / draws
		}
		for i := range bins {
			most[i] = max(most[i], share[i])
		}
	}
	right := 0.0
	for _, m := range most {
		right += m / float64(len(colours()))
	}
	if right > 0.3 {
		t.Errorf("the grey level gives %.3f of the colours away, want 0.3 at most", right)
	}
}

// TestHues checks that the hues of any two colours stay apart, jitter included.
func TestHues(t *testing.T) {
	if len(paints) != len(colourWords) {
		t.Fatalf("%d paints for %d colours", len(paints), len(colourWords))
	}
	for a, p := range paints {
		for b, q := range paints {
			d := math.Mod(p.hue-q.hue+360, 360)
			if gap := min(d, 360-d) - p.jitter - q.jitter; a != b && gap < 25 {
				t.Errorf("%s and %s are %.0f degrees apart at worst, want 25", a, b, gap)
			}
		}
	}
}

// TestOKLCh compares with colours whose OKLCh values are published in the CSS
// Color 4 specification's conversions of the named colours.
func TestOKLCh(t *testing.T) {
	tests := []struct {
		name                   string
		lightness, chroma, hue float64
		want                   [3]int
	}{
		{"red", 0.62796, 0.25768, 29.234, [3]int{255, 0, 0}},
		{"lime", 0.86644, 0.29483, 142.495, [3]int{0, 255, 0}},
		{"blue", 0.45201, 0.31321, 264.052, [3]int{0, 0, 255}},
		{"white", 1, 0, 0, [3]int{255, 255, 255}},
		{"black", 0, 0, 0, [3]int{0, 0, 0}},
	}
	for _, tt := range tests {
		c := oklch(tt.lightness, tt.chroma, tt.hue)
		got := [3]int{}
		for i := range got {
			got[i] = int(math.Round(255 * c[i]))
		}
		if got != tt.want {
			t.Errorf("oklch of %s = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestShapes measures the drawn shapes: none leaves maxExtent, and all cover
// an area between that of a thin ring and that of the circle.
func TestShapes(t *testing.T) {
	const n = 400
	for _, shape := range shapes() {
		area, reach := 0.0, 0.0
		for i := range n {
			for j := range n {
				x, y := 3*(float64(i)+0.5)/n-1.5, 3*(float64(j)+0.5)/n-1.5
				if signedDistance(shape, x, y) > 0 {
					continue
				}
				area += 9. / (n * n)
				reach = max(reach, math.Hypot(x, y))
			}
		}
		if reach > maxExtent || reach < 0.95 {
			t.Errorf("%s reaches %.2f from its centre, want 0.95 to %.2f", shape, reach, maxExtent)
		}
		if area < 0.9 || area > math.Pi+0.02 {
			t.Errorf("%s has area %.2f, want 0.9 to 3.16", shape, area)
		}
	}
}

// TestDrawIsSmooth checks that the outline has intermediate levels, and that
// a texture leaves most of the object in its own colour.
func TestDrawIsSmooth(t *testing.T) {
	img := image.NewRGBA(image.Rect(0, 0, 100, 100))
	o := Object{Shape: "circle", X: 50, Y: 50, Radius: 30, Texture: Striped}
	drawObject(img, o, style{ink: rgb{1, 1, 1}, texture: Solid})
	levels := map[uint8]bool{}
	for x := range 100 {
		for y := range 100 {
			levels[img.RGBAAt(x, y).R] = true
		}
	}
	if len(levels) < 15 {
		t.Errorf("a white circle on black has %d levels, want 15 or more", len(levels))
	}
	for _, texture := range []Texture{Striped, Dotted} {
		st := style{ink: rgb{1, 0, 0}, accent: rgb{0, 0, 1}, texture: texture, cos: 1}
		drawObject(img, o, st)
		red, blue := 0, 0
		for x := range 100 {
			for y := range 100 {
				if c := img.RGBAAt(x, y); c.R > 200 {
					red++
				} else if c.B > 200 {
					blue++
				}
			}
		}
		if share := float64(blue) / float64(red+blue); share < 0.1 || share > 0.45 {
			t.Errorf("%s: %.2f of the object is accent, want 0.1 to 0.45", texture, share)
		}
	}
}

func BenchmarkRender(b *testing.B) {
	scenes := defaultScenes()
	for i := 0; b.Loop(); i++ {
		if _, err := render(stream(1, pixelStream, i), scenes[i%len(scenes)].Scene); err != nil {
			b.Fatal(err)
		}
	}
}
