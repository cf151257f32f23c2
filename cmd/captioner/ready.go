package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/captioner/captioner"
)

func newReadyCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "ready",
		Short: "Ask a server whether it is ready",
		Long: `Asks the server at --server whether requests may be sent to it: the exit code is
0 when it says so. Container images have no shell to ask with.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var reply struct {
				Ready        bool             `json:"ready"`
				Model        string           `json:"model"`
				ModelVersion captioner.Digest `json:"model_version,omitempty"`
			}
			if err := newAPIClient(g.server).do(cmd.Context(), http.MethodGet, "/ready", "", nil, &reply); err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), reply)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "ready, model: %s\n", reply.Model)
			return err
		},
	}
}
