package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/captioner/captioner"
)

// unknown says that a section has no such key, and which one may be meant: the
// nearest name of the section, else the same or nearest name elsewhere.
func unknown(section reflect.Type, prefix, key string) string {
	var here []string
	for i := range section.NumField() {
		here = append(here, keyOf(section.Field(i)))
	}
	if name := nearest(key, here); name != "" {
		return fmt.Sprintf("is unknown: did you mean %q?", name)
	}
	var elsewhere, last []string
	for _, name := range names() {
		_, key, _ := cutLast(name)
		elsewhere, last = append(elsewhere, name), append(last, key)
	}
	if name := nearest(key, last); name != "" {
		for i := range last {
			if last[i] == name {
				return fmt.Sprintf("is unknown here: did you mean %s?", elsewhere[i])
			}
		}
	}
	if prefix == "" {
		return "is unknown: the sections are " + strings.Join(here, ", ")
	}
	return "is unknown: the fields of " + prefix + " are " + strings.Join(here, ", ")
}

// nearest returns the name that differs least from key, "" when none is near:
// a third of the letters may differ. Case, dashes and underscores do not count.
func nearest(key string, names []string) string {
	best, name := len(key), ""
	for _, n := range names {
		d := distance(plainName(key), plainName(n))
		if d < best && d <= min(len(key), len(n))/3 {
			best, name = d, n
		}
	}
	return name
}

var plainNames = strings.NewReplacer("_", "", "-", "", " ", "", ".", "")

func plainName(s string) string { return strings.ToLower(plainNames.Replace(s)) }

// distance is the number of letters to insert, delete, replace or swap with
// their neighbour to turn a into b (Damerau's, restricted).
func distance(a, b string) int {
	x, y := []rune(cut(a)), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

// names lists the dotted names of all leaf fields, in order.
func names() []string {
	var list []string
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			f := t.Field(i)
			name := join(prefix, keyOf(f))
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, name)
				continue
			}
			list = append(list, name)
		}
	}
	walk(reflect.TypeFor[captioner.Config](), "")
	return list
}
