package demodata

// The attributes of a scene are named by the first word of their entry in the
// tables below.
type (
	// Colour is that of an object.
	Colour string
	// Shape is the outline of an object.
	Shape string
	// Size is how much of the picture an object takes.
	Size string
	// Texture is how an object is filled.
	Texture string
	// Tone is the colour of the background.
	Tone string
)

const (
	Small  Size = "small"
	Medium Size = "medium"
	Large  Size = "large"

	Solid   Texture = "solid"
	Striped Texture = "striped"
	Dotted  Texture = "dotted"

	Black Tone = "black"
	Grey  Tone = "grey"
	Brown Tone = "brown"
)

// word is an attribute with its synonyms; the captions use the first most.
type word struct {
	name     string
	synonyms []string // singular, without the name itself
}

var colourWords = []word{
	{"red", []string{"scarlet"}},
	{"orange", []string{"amber"}},
	{"yellow", []string{"golden"}},
	{"green", []string{"emerald"}},
	{"turquoise", []string{"cyan"}},
	{"blue", []string{"azure"}},
	{"purple", []string{"violet"}},
	{"pink", []string{"rose"}},
}

var shapeWords = []word{
	{"circle", []string{"disc"}},
	{"square", []string{"box"}},
	{"triangle", []string{"wedge"}},
	{"star", []string{"starlet"}},
	{"heart", []string{"valentine"}},
	{"cross", []string{"plus"}},
	{"ring", []string{"hoop"}},
	{"moon", []string{"crescent"}},
}

var sizeWords = []word{
	{"small", []string{"little", "tiny"}},
	{"medium", []string{"middling"}},
	{"large", []string{"big", "huge"}},
}

var textureWords = []word{
	{"solid", []string{"plain"}},
	{"striped", []string{"stripy"}},
	{"dotted", []string{"spotted"}},
}

var toneWords = []word{
	{"black", []string{"dark"}},
	{"grey", []string{"gray"}},
	{"brown", []string{"chestnut"}},
}

// plurals that are not the singular with an s.
var plurals = map[string]string{"box": "boxes", "cross": "crosses", "plus": "pluses"}

func plural(noun string) string {
	if p, ok := plurals[noun]; ok {
		return p
	}
	return noun + "s"
}

func colours() []Colour { return names[Colour](colourWords) }
func shapes() []Shape   { return names[Shape](shapeWords) }

func names[T ~string](table []word) []T {
	out := make([]T, len(table))
	for i, w := range table {
		out[i] = T(w.name)
	}
	return out
}

// synonymsOf returns the table's entry of an attribute.
func synonymsOf[T ~string](table []word, name T) word {
	for _, w := range table {
		if w.name == string(name) {
			return w
		}
	}
	panic("demodata: no words for " + string(name))
}

// wordMeanings maps every word and plural of the tables to its name.
func wordMeanings[T ~string](tables ...[]word) map[string]T {
	m := make(map[string]T)
	for _, table := range tables {
		for _, w := range table {
			for _, s := range append([]string{w.name}, w.synonyms...) {
				m[s], m[plural(s)] = T(w.name), T(w.name)
			}
		}
	}
	return m
}
