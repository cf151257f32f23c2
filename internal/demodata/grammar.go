package demodata

import (
	"math/rand/v2"
	"slices"
	"strings"
)

const (
	// referencesPerImage is Flickr8k's number.
	referencesPerImage = 5
	minWords, maxWords = 8, 20
)

// references writes different true captions of the scene. Most name every
// group; all have minWords to maxWords words.
func references(r *rand.Rand, s Scene) []string {
	w := writer{r: r, scene: s, groups: s.groups()}
	w.relations = relations(s, w.groups)
	var captions []string
	for len(captions) < referencesPerImage {
		w.groups = s.groups()
		text := w.caption()
		n := len(strings.Fields(strings.ReplaceAll(text, ",", " ")))
		if n >= minWords && n <= maxWords && !slices.Contains(captions, text) {
			captions = append(captions, text)
		}
	}
	for i, c := range captions {
		captions[i] = finish(r, c)
	}
	return captions
}

// finish makes a sentence as Flickr8k writes them: a capital letter, and
// mostly a full stop after a space.
func finish(r *rand.Rand, caption string) string {
	caption = strings.ToUpper(caption[:1]) + caption[1:]
	if r.Float64() < 0.8 {
		caption += " ."
	}
	return caption
}

// writer writes captions of one scene.
type writer struct {
	r         *rand.Rand
	scene     Scene
	groups    []group
	relations []relation
}

// chance is true with probability p.
func (w *writer) chance(p float64) bool { return w.r.Float64() < p }

// choice is a text with a weight.
type choice struct {
	text   string
	weight float64
}

func (w *writer) pick(choices ...choice) string {
	total := 0.0
	for _, c := range choices {
		total += c.weight
	}
	u := w.r.Float64() * total
	for _, c := range choices {
		if u -= c.weight; u < 0 {
			return c.text
		}
	}
	return choices[0].text
}

// word says the attribute by its name with probability p, else by a synonym.
func (w *writer) word(entry word, p float64) string {
	if w.chance(p) {
		return entry.name
	}
	return entry.synonyms[w.r.IntN(len(entry.synonyms))]
}

// caption draws one caption.
func (w *writer) caption() string {
	switch len(w.groups) {
	case 1:
		return w.single()
	case 2:
		if len(w.relations) > 0 && w.chance(0.8) {
			return w.related(nil)
		}
	default:
		if len(w.relations) > 0 && w.chance(0.3) {
			return w.relatedAmongOthers()
		}
	}
	return w.list()
}

// single describes a scene of one group.
func (w *writer) single() string {
	g := w.groups[0]
	thing := w.thing(g, detail{size: 0.7, texture: 0.85})
	where := w.position(g)
	if where == "" || w.chance(0.25) {
		where = w.background()
	} else if w.chance(0.25) {
		where += " " + w.background()
	}
	switch w.pick(choice{"plain", 0.4}, choice{"verb", 0.35}, choice{"there", 0.15}, choice{"picture", 0.1}) {
	case "verb":
		return thing + " " + w.verb(g) + " " + where
	case "there":
		return "there " + be(g) + " " + thing + " " + where
	case "picture":
		return w.opening() + " " + thing + " " + where
	default:
		return thing + " " + where
	}
}

// related says how two groups lie to each other, and then what the rest is.
func (w *writer) related(rest []group) string {
	rel := w.pickRelation()
	d := detail{size: 0.3, texture: 0.5}
	if len(rest) > 0 {
		d = detail{size: 0.1, texture: 0.2}
	}
	a, b := w.groups[rel.subject], w.groups[rel.object]
	subject, object := w.thing(a, d), w.thing(b, d)
	between := w.relationWords(rel.kind)
	text := subject + " " + between + " " + object
	switch w.pick(choice{"verb", 0.75}, choice{"plain", 0.15}, choice{"there", 0.1}) {
	case "verb":
		text = subject + " " + w.verb(a) + " " + between + " " + object
	case "there":
		text = "there " + be(a) + " " + text
	}
	if len(rest) > 0 {
		text += " " + w.pick(choice{"along with", 0.6}, choice{"and also", 0.4}) + " " + w.things(rest, d)
	} else if w.chance(0.4) {
		text += " " + w.background()
	}
	return text
}

func (w *writer) relatedAmongOthers() string {
	// The rest is whatever the relation that is drawn does not name.
	rel := w.pickRelation()
	saved := w.relations
	w.relations = []relation{rel}
	defer func() { w.relations = saved }()
	var rest []group
	for i, g := range w.groups {
		if i != rel.subject && i != rel.object {
			rest = append(rest, g)
		}
	}
	return w.related(leftToRight(rest))
}

// pickRelation draws a relation; people rather start on the left and at the
// top, and rather say how things lie than that they are near.
func (w *writer) pickRelation() relation {
	weights := map[relationKind]float64{leftOf: 0.85, rightOf: 0.15, above: 0.85, below: 0.15, near: 0.08}
	total := 0.0
	for _, rel := range w.relations {
		total += weights[rel.kind]
	}
	u := w.r.Float64() * total
	for _, rel := range w.relations {
		if u -= weights[rel.kind]; u < 0 {
			return rel
		}
	}
	return w.relations[0]
}

func (w *writer) relationWords(kind relationKind) string {
	switch kind {
	case leftOf:
		return w.pick(choice{"to the left of", 0.85}, choice{"left of", 0.15})
	case rightOf:
		return w.pick(choice{"to the right of", 0.85}, choice{"right of", 0.15})
	case above:
		return w.pick(choice{"above", 0.85}, choice{"over", 0.15})
	case below:
		return w.pick(choice{"below", 0.85}, choice{"under", 0.15})
	default:
		return w.pick(choice{"near", 0.75}, choice{"next to", 0.15}, choice{"close to", 0.1})
	}
}

// list enumerates the groups.
func (w *writer) list() string {
	groups := w.arranged()
	d := detail{size: 0.3, texture: 0.5}
	if len(groups) > 2 {
		d = detail{size: 0.1, texture: 0.2}
	}
	things := w.things(groups, d)
	switch w.pick(choice{"plain", 0.6}, choice{"there", 0.15}, choice{"picture", 0.15}, choice{"seen", 0.1}) {
	case "there":
		return "there " + be(groups[0]) + " " + things + " " + w.background()
	case "picture":
		if w.chance(0.5) {
			return w.opening() + " " + things
		}
		return w.opening() + " " + things + " " + w.background()
	case "seen":
		return things + " can be seen " + w.background()
	default:
		return things + " " + w.background()
	}
}

// arranged orders the groups, mostly from left to right, and now and then
// forgets one of many, as people do.
func (w *writer) arranged() []group {
	groups := leftToRight(w.groups)
	if w.chance(0.1) {
		w.r.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	}
	if len(groups) > 2 && w.chance(0.06) {
		i := w.r.IntN(len(groups))
		groups = slices.Delete(groups, i, i+1)
	}
	return groups
}

func leftToRight(groups []group) []group {
	sorted := slices.Clone(groups)
	slices.SortStableFunc(sorted, func(a, b group) int {
		ax, _ := a.centre()
		bx, _ := b.centre()
		if ax < bx {
			return -1
		}
		return 1
	})
	return sorted
}

func (g group) centre() (x, y float64) {
	for _, o := range g.members {
		x, y = x+o.X, y+o.Y
	}
	n := float64(len(g.members))
	return x / n, y / n
}

// things joins the names of groups with commas and "and".
func (w *writer) things(groups []group, d detail) string {
	var b strings.Builder
	for i, g := range groups {
		switch {
		case i > 0 && i == len(groups)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(" , ")
		}
		b.WriteString(w.thing(g, d))
	}
	return b.String()
}

// detail is how likely size and texture are mentioned.
type detail struct{ size, texture float64 }

// thing names a group: "a large striped red circle", "two blue boxes".
func (w *writer) thing(g group, d detail) string {
	var parts []string
	if g.Size == Medium {
		d.size *= 0.3
	}
	if g.Texture == Solid {
		d.texture *= 0.15
	}
	if w.chance(d.size) {
		parts = append(parts, w.word(synonymsOf(sizeWords, g.Size), 0.75))
	}
	if w.chance(d.texture) {
		parts = append(parts, w.word(synonymsOf(textureWords, g.Texture), 0.8))
	}
	parts = append(parts, w.word(synonymsOf(colourWords, g.Colour), 0.9))
	noun := w.word(synonymsOf(shapeWords, g.Shape), 0.9)
	switch len(g.members) {
	case 1:
		return article(parts[0]) + " " + strings.Join(parts, " ") + " " + noun
	case 2:
		count := w.pick(choice{"two", 0.8}, choice{"a pair of", 0.2})
		return count + " " + strings.Join(parts, " ") + " " + plural(noun)
	default:
		return "three " + strings.Join(parts, " ") + " " + plural(noun)
	}
}

func article(next string) string {
	if strings.ContainsRune("aeiou", rune(next[0])) {
		return "an"
	}
	return "a"
}

func be(g group) string {
	if len(g.members) > 1 {
		return "are"
	}
	return "is"
}

func (w *writer) verb(g group) string {
	verb := w.pick(choice{"", 0.75}, choice{"sit", 0.15}, choice{"lie", 0.1})
	switch {
	case verb == "":
		return be(g)
	case len(g.members) > 1:
		return verb
	default:
		return verb + "s"
	}
}

func (w *writer) opening() string {
	return w.pick(choice{"the picture shows", 0.6}, choice{"a picture of", 0.25}, choice{"here we see", 0.15})
}

func (w *writer) background() string {
	tone := w.word(synonymsOf(toneWords, w.scene.Background.Tone), 0.8)
	return "on " + article(tone) + " " + tone + " " + w.pick(choice{"background", 0.75}, choice{"surface", 0.15}, choice{"backdrop", 0.1})
}

// position says where in the picture the group lies, or "" if it is hard to
// say or the group has several members that are not in one line.
func (w *writer) position(g group) string {
	if len(g.members) > 1 {
		return w.arrangement(g)
	}
	column := third(g.X/float64(w.scene.Width), "left", "middle", "right")
	row := third(g.Y/float64(w.scene.Height), "top", "middle", "bottom")
	switch {
	case column == "" || row == "":
		return ""
	case column == "middle" && row == "middle":
		return "in the " + w.pick(choice{"middle", 0.65}, choice{"center", 0.35})
	case row == "middle":
		return "on the " + column + w.pick(choice{"", 0.6}, choice{" side", 0.4})
	case column == "middle":
		return "at the " + row
	default:
		return "in the " + row + " " + column + " corner"
	}
}

// arrangement says how two like things lie to each other.
func (w *writer) arrangement(g group) string {
	if len(g.members) != 2 {
		return ""
	}
	a, b := g.members[0], g.members[1]
	switch {
	case holds(w.scene, leftOf, a, b) || holds(w.scene, rightOf, a, b):
		return "side by side"
	case holds(w.scene, above, a, b) || holds(w.scene, below, a, b):
		return "one above the other"
	default:
		return ""
	}
}

// third names the part of the unit interval that v is clearly in, or "".
func third(v float64, low, middle, high string) string {
	switch {
	case v < 0.36:
		return low
	case v > 0.64:
		return high
	case v > 0.41 && v < 0.59:
		return middle
	default:
		return ""
	}
}
