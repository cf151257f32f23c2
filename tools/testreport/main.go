// Command testreport reads the output of `go test -json` on standard input,
// prints what failed, what was skipped and how long each package took, and ends
// with one line "N passed, N failed". Its exit code is 1 when something failed
// and, with -no-skips, when something was skipped that could have been installed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
)

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

// otherProcessor is in the reason of a test that cannot run on every machine.
const otherProcessor = "needs a processor with"

type key struct{ pkg, test string }

func main() {
	noSkips := flag.Bool("no-skips", false, "fail when a test was skipped")
	quiet := flag.Bool("quiet", false, "do not print a line for each package")
	flag.Parse()

	output := map[key][]string{}
	results := map[key]string{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // not an event: something the go command itself had to say
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Print(e.Output)
		case "output":
			output[k] = append(output[k], e.Output)
		case "pass", "fail", "skip":
			results[k] = e.Action
			if e.Test == "" && !*quiet && !(e.Action == "skip") {
				fmt.Printf("%-4s %7.1fs  %s\n", e.Action, e.Elapsed, e.Package)
			}
			if e.Action == "pass" {
				delete(output, k)
			}
		}
	}

	passed, failed, skipped := 0, 0, 0
	var keys []key
	for k := range results {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool {
		return keys[i].pkg+" "+keys[i].test < keys[j].pkg+" "+keys[j].test
	})
	failedTests := map[string]bool{}
	for _, k := range keys {
		if k.test != "" && results[k] == "fail" {
			failedTests[k.pkg] = true
		}
	}
	for _, k := range keys {
		text := strings.Join(output[k], "")
		switch {
		case results[k] == "fail" && (k.test != "" || !failedTests[k.pkg]):
			failed++
			fmt.Printf("\n--- FAIL %s %s\n%s", k.pkg, k.test, text)
		case results[k] == "skip" && k.test != "":
			if !strings.Contains(text, otherProcessor) {
				skipped++
			}
			fmt.Printf("\n--- SKIP %s %s\n%s", k.pkg, k.test, text)
		case results[k] == "pass" && k.test != "":
			passed++
		}
	}
	if *noSkips && skipped > 0 {
		fmt.Printf("\n%d tests were skipped, and here none may be: install what they need\n", skipped)
		failed += skipped
	}
	fmt.Printf("\n%d passed, %d failed\n", passed, failed)
	if failed > 0 || passed == 0 {
		os.Exit(1)
	}
}
