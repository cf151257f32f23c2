// Package text turns captions into token IDs and back: cleaning, the
// vocabulary, encoding and decoding. It follows the original system's rules to
// the letter, so that its captions and ours are comparable.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// Clean returns the caption in lower case, without ASCII punctuation, its
// words separated by single spaces: the form in which captions are trained on,
// generated and stored. Case and white space are Unicode's, as in Python's
// str.lower and str.split. Bytes that are not UTF-8 become U+FFFD.
func Clean(caption string) string {
	return strings.Join(Fields(strings.Map(dropPunctuation, Lower(caption))), " ")
}

// HasWords reports whether Clean leaves anything of the caption, at less cost.
func HasWords(caption string) bool {
	return strings.ContainsFunc(caption, func(r rune) bool { return !isSpace(r) && dropPunctuation(r) == r })
}

// Lower returns s in lower case under Unicode's full mapping, the final sigma
// and the dotted capital I included, whatever the language. Bytes that are
// not UTF-8 become U+FFFD.
func Lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	// A Caser keeps state, so that one cannot be shared.
	return cases.Lower(language.Und).String(strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// Fields splits s around white space as Python's str.split does: Unicode's,
// and the separators U+001C to U+001F as well.
func Fields(s string) []string {
	return strings.FieldsFunc(s, isSpace)
}

func isSpace(r rune) bool {
	return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f
}

// dropPunctuation is for strings.Map: it drops the 32 characters of Python's
// string.punctuation.
func dropPunctuation(r rune) rune {
	switch {
	case r >= '!' && r <= '/', r >= ':' && r <= '@', r >= '[' && r <= '`', r >= '{' && r <= '~':
		return -1
	}
	return r
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
