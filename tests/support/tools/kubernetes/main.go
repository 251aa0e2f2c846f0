// Reads Kubernetes manifests on standard input by the API's own types, as the API server does with strict field validation:
// a field that is unknown, given twice or of another type is an error. Prints them as a list in JSON.
package main

import (
	"bytes"
	encoding "encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// The kinds that the manifests may have, by "apiVersion kind".
var kinds = map[string]func() any{
	"apps/v1 Deployment":             func() any { return &apps.Deployment{} },
	"apps/v1 StatefulSet":            func() any { return &apps.StatefulSet{} },
	"batch/v1 Job":                   func() any { return &batch.Job{} },
	"cert-manager.io/v1 Certificate": func() any { return &certmanager.Certificate{} },
	"v1 Service":                     func() any { return &core.Service{} },
}

var separator = regexp.MustCompile(`(?m)^---\s*$`)

func read(document []byte) (any, error) {
	var kind meta.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, err
	}
	name := kind.APIVersion + " " + kind.Kind
	make, known := kinds[name]
	if !known {
		return nil, fmt.Errorf("there is no type for %q", name)
	}
	object := make()
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	// Unlike encoding/json, case counts here.
	faults, err := json.UnmarshalStrict(text, object)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return object, nil
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	var objects []any
	for _, document := range separator.Split(string(text), -1) {
		if len(bytes.TrimSpace([]byte(document))) == 0 {
			continue
		}
		object, fault := read([]byte(document))
		objects, err = append(objects, object), errors.Join(err, fault)
	}
	if err == nil {
		err = encoding.NewEncoder(os.Stdout).Encode(objects)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
