package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/registry"
	"github.com/captioner/captioner/ml/safetensors"
)

func newModelsCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "models", Short: "List, show, verify, export, promote, roll back, pin and import model versions"}
	cmd.AddCommand(newModelsListCommand(g), newModelsShowCommand(g), newModelsVerifyCommand(g), newModelsExportCommand(g),
		newModelsPromoteCommand(g), newModelsRollbackCommand(g),
		newModelsPinCommand(g), newModelsUnpinCommand(g), newModelsImportCommand(g))
	return cmd
}

// listLimit bounds what a list command prints.
const listLimit = 100

func newModelsListCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the versions, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			storage, err := g.storage(cmd)
			if err != nil {
				return err
			}
			defer storage.Close()
			versions, err := storage.Store.ModelVersions(cmd.Context(), listLimit)
			if err != nil {
				return err
			}
			live, err := storage.Store.Alias(cmd.Context(), captioner.Production)
			if err != nil && captioner.KindOf(err) != captioner.NotFound {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"models": versions, "live": live.Version})
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "VERSION\tSTATE\tBLEU-4 GREEDY\tBLEU-4 BEAM\tRUN\tCREATED")
			for _, v := range versions {
				run := v.RunID
				if v.Lineage.Imported != nil {
					run = "imported"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", v.Version.Short(), versionState(v, live),
					bleu4(v, "greedy"), bleu4(v, "beam"), run, v.CreatedAt.Local().Format(time.DateTime))
			}
			return w.Flush()
		},
	}
}

// versionState says what is special about a version: "live", "pinned", both, or that
// its files are deleted.
func versionState(v captioner.ModelVersion, live captioner.Alias) string {
	var states []string
	if v.Version == live.Version {
		states = append(states, "live")
	}
	if v.PinnedAt != nil {
		states = append(states, "pinned")
	}
	if v.DeletedAt != nil {
		states = append(states, "deleted")
	}
	return strings.Join(states, ", ")
}

// bleu4 returns a version's score in percent, a dash for one without.
func bleu4(v captioner.ModelVersion, algorithm string) string {
	score, ok := v.Evaluation.Score(algorithm)
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%.2f", 100*score.BLEU4)
}

func newModelsShowCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "show VERSION",
		Short: "Show a version: scores, lineage, samples",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			storage, err := g.storage(cmd)
			if err != nil {
				return err
			}
			defer storage.Close()
			v, err := storage.Store.ModelVersion(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), v)
			}
			out := cmd.OutOrStdout()
			if from := v.Lineage.Imported; from != nil {
				_, err := fmt.Fprintf(out, "version          %s\nimported         %s\nmodel            %s\nvocabulary       %s\nencoder weights  %s\nparameters       %d\n",
					v.Version, v.CreatedAt.Local().Format(time.DateTime), from.Model, from.Vocabulary, from.EncoderWeights, v.Training.Parameters)
				return err
			}
			fmt.Fprintf(out, "version   %s\nrun       %s\ncreated   %s\ndata set  %s\nconfig    %s\n",
				v.Version, v.RunID, v.CreatedAt.Local().Format(time.DateTime), v.Lineage.Dataset, v.Lineage.Config)
			if v.PinnedAt != nil {
				fmt.Fprintf(out, "pinned    %s\n", v.PinnedAt.Local().Format(time.DateTime))
			}
			if v.DeletedAt != nil {
				fmt.Fprintf(out, "files     deleted %s\n", v.DeletedAt.Local().Format(time.DateTime))
			}
			fmt.Fprintf(out, "training  %d steps, best epoch %d of %d, validation loss %.4f nats per token, %d parameters\n\n",
				v.Training.Steps, v.Training.BestEpoch, v.Training.Epochs, v.Training.BestValidationLoss, v.Training.Parameters)
			return printEvaluation(out, v.Evaluation)
		},
	}
}

func newModelsVerifyCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "verify VERSION|DIR",
		Short: "Check every file of a version, or of an unpacked bundle, against its SHA-256",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			verified, err := verifyModel(g, cmd, args[0])
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"version": verified, "ok": true})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: every file matches its SHA-256\n", verified)
			return err
		},
	}
}

func verifyModel(g *global, cmd *cobra.Command, name string) (captioner.Digest, error) {
	if filepath.Base(name) != name { // a path, not a version
		version, err := registry.Version(name)
		if err != nil {
			return "", err
		}
		return version, registry.VerifyDir(name, version)
	}
	storage, err := g.storage(cmd)
	if err != nil {
		return "", err
	}
	defer storage.Close()
	v, err := storage.Store.ModelVersion(cmd.Context(), name)
	if err != nil {
		return "", err
	}
	// The folder that servers load from is checked too, where there is one.
	err = registry.VerifyBlobs(cmd.Context(), storage.Blobs, v.Version)
	if dir := filepath.Join(storage.ModelCache(), string(v.Version)); exists(dir) {
		err = errors.Join(err, registry.VerifyDir(dir, v.Version))
	}
	return v.Version, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func newModelsExportCommand(g *global) *cobra.Command {
	var format, output string
	cmd := &cobra.Command{
		Use:   "export VERSION|DIR",
		Short: "Write a version's weights to a file, for use elsewhere",
		Long: `Write the weights of a version, or of an unpacked bundle, to a file in the
safetensors format. Its metadata have the version, the configuration
(config.yaml), the vocabulary (vocabulary.json) and the model's description
(model.json). Convolutions have their batch normalisations folded into kernel
and bias.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "safetensors" {
				return captioner.Errorf(captioner.Invalid, "--format must be safetensors, is %q", format)
			}
			version, dir, err := modelFolder(g, cmd, args[0])
			if err != nil {
				return err
			}
			path := cmp.Or(output, version.Short()+".safetensors")
			weights, err := exportWeights(dir, version, path)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"version": version, "file": path, "weights": weights})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d weights of version %s\n", path, weights, version.Short())
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "safetensors", "format of the file: safetensors")
	cmd.Flags().StringVarP(&output, "output", "o", "", "path of the file (default: VERSION.safetensors here)")
	return cmd
}

// modelFolder returns the verified folder of a version or of a bundle.
func modelFolder(g *global, cmd *cobra.Command, name string) (version captioner.Digest, dir string, err error) {
	if filepath.Base(name) != name { // a path, not a version
		if version, err = registry.Version(name); err != nil {
			return "", "", err
		}
		return version, name, registry.VerifyDir(name, version)
	}
	storage, err := g.storage(cmd)
	if err != nil {
		return "", "", err
	}
	defer storage.Close()
	v, err := storage.Store.ModelVersion(cmd.Context(), name)
	if err != nil {
		return "", "", err
	}
	dir, err = registry.Materialise(cmd.Context(), storage.Blobs, v.Version, storage.ModelCache())
	return v.Version, dir, err
}

// exportWeights writes the weights of the bundle in dir, and returns how many
// there are.
func exportWeights(dir string, version captioner.Digest, path string) (int, error) {
	weights, err := registry.Weights(dir)
	if err != nil {
		return 0, err
	}
	metadata := map[string]string{"version": string(version)}
	for _, name := range []string{"config.yaml", "vocabulary.json", "model.json"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return 0, captioner.Wrap(captioner.Internal, err, "read the bundle's %s", name)
		}
		metadata[name] = string(data)
	}
	if err := safetensors.Write(path, weights, metadata); err != nil {
		return 0, captioner.Wrap(captioner.Internal, err, "the weights cannot be written")
	}
	return len(weights), nil
}
