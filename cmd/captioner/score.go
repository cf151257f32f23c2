package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/ml/metrics"
)

func newScoreCommand(g *global) *cobra.Command {
	var tokenizer string
	cmd := &cobra.Command{
		Use:   "score FILE",
		Short: "Score hypotheses against references with corpus BLEU",
		Long: `Reads {"hyps": ["…"], "refs": [["…"], …]} from FILE ("-" for standard input) and
prints corpus BLEU-1 to BLEU-4, without smoothing and with NLTK's method 1.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := openInput(cmd, args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			scores, err := metrics.ScoreFile(in, tokenizer)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), scores)
			}
			return printScoreResult(cmd.OutOrStdout(), scores)
		},
	}
	cmd.Flags().StringVar(&tokenizer, "tokenizer", "split", "split: lower case, then at white space")
	return cmd
}

func printScoreResult(w io.Writer, r metrics.Result) error {
	fmt.Fprintf(w, "%-14s %6s %9s\nBLEU-1 %14.2f %9.2f\nBLEU-2 %14.2f %9.2f\nBLEU-3 %14.2f %9.2f\nBLEU-4 %14.2f %9.2f\n",
		"percent", "plain", "method 1",
		100*r.BLEU1, 100*r.BLEU1Method1, 100*r.BLEU2, 100*r.BLEU2Method1,
		100*r.BLEU3, 100*r.BLEU3Method1, 100*r.BLEU4, 100*r.BLEU4Method1)
	for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
		fmt.Fprintf(w, "%-14s %6.2f\n", name, 100*r.Metrics[name])
	}
	_, err := fmt.Fprintln(w, r.Signature)
	return err
}

// openInput opens a file, or standard input for "-".
func openInput(cmd *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, captioner.Wrap(captioner.Invalid, err, "read %s", name)
	}
	return f, nil
}
