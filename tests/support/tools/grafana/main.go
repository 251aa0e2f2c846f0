// Reads a Grafana dashboard on standard input by the types that Grafana publishes, those of the panels' and the queries' plugins
// included: a field that is unknown, missing or of another type is an error.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// An error of theirs may be a list of none.
func found(err error) error {
	var faults cog.BuildErrors
	if errors.As(err, &faults) && len(faults) == 0 {
		return nil
	}
	return err
}

func main() {
	plugins.RegisterDefaultPlugins()
	text, err := io.ReadAll(os.Stdin)
	var board dashboard.Dashboard
	if err == nil {
		err = errors.Join(found(board.UnmarshalJSONStrict(text)), found(board.Validate()))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(len(board.Panels))
}
