package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner/internal/app"
)

func newModelsImportCommand(g *global) *cobra.Command {
	var o app.ImportOptions
	cmd := &cobra.Command{
		Use:   "import MODEL",
		Short: "Make a version of a caption model that the original system has trained",
		Long: `Make a version of a caption model that the original system has trained.

MODEL is Keras' archive (image_caption_model_final.keras) or a file of its weights
(*.weights.h5, *.h5). Nothing in it is executed: its layers are compared with those
that the original builds, and others are refused. What the model reads of a picture
comes from the encoder that it was trained with, whose weights Keras publishes.

The version can be verified, promoted and served. It has no scores: a run that
wants to replace it scores both on its own test pictures.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Model = args[0]
			for _, path := range []*string{&o.Model, &o.Vocabulary, &o.EncoderWeights} {
				var err error
				if *path, err = filepath.Abs(*path); err != nil { // the engine has a folder of its own
					return err
				}
			}
			if err := os.MkdirAll(g.dataDir, 0o755); err != nil { // it may be the first version
				return err
			}
			storage, err := g.storage(cmd)
			if err != nil {
				return err
			}
			defer storage.Close()
			if o.Logger, err = g.logger(cmd.ErrOrStderr(), slog.LevelWarn); err != nil {
				return err
			}
			v, err := storage.Import(cmd.Context(), o)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), v)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\nmake it live with: captioner models promote %s\n", v.Version, v.Version.Short())
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Vocabulary, "vocabulary", "", "the original's wordtoix.json of the model")
	flags.StringVar(&o.EncoderWeights, "encoder-weights", "", "weights of the encoder that Keras publishes (*_notop.h5) or has saved (*.weights.h5)")
	flags.StringSliceVar(&o.Pictures, "images", nil, "up to three pictures to check the version by whenever it is loaded")
	flags.IntVar(&o.MaxLength, "max-length", 0, "tokens that the model reads; only for a file of weights, an archive says so")
	flags.BoolVar(&o.MasksPadding, "mask-zero", false, "the embedding had mask_zero=True; only for a file of weights")
	for _, name := range []string{"vocabulary", "encoder-weights"} {
		_ = cmd.MarkFlagRequired(name)
	}
	flags.StringVar(&o.EngineBinary, "engine", "", "path of captioner-engine (default: beside captioner, then on the PATH)")
	return cmd
}
