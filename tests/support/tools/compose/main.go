// Command compose loads a Compose project with the library that Docker Compose itself loads it with, so that its schema,
// interpolation, profiles and consistency checks are the real ones, and prints the result as JSON.
// Profiles come from COMPOSE_PROFILES, or from the arguments after the file, which stand for --profile.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: compose FILE [PROFILE...]")
	}
	options, err := cli.NewProjectOptions(args[:1], cli.WithOsEnv, cli.WithDotEnv, cli.WithDefaultProfiles(args[1:]...))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	rendered, err := project.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(rendered)
	return err
}
