package envoy

import (
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/keyturn/keyturn/envoy/internal/document"
)

// Marshal writes a configuration as YAML, the same bytes for the same configuration, with comments where a reader
// would ask why. The document holds the clients' keys when there are any: write it for its owner's eyes only.
func Marshal(b *bootstrapv3.Bootstrap) ([]byte, error) {
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("envoy configuration: %w", err)
	}
	out, err := document.Marshal([]document.Document{{Comment: documentComment, JSON: j}}, nil)
	if err != nil {
		return nil, fmt.Errorf("envoy configuration: %w", err)
	}
	return out, nil
}

const documentComment = `Envoy with Keyturn. Each attempt of a client's request is a request of its own to the inner listener, where Keyturn gives it a key.
Written by "keyturn render envoy". After a change by hand, "keyturn check --envoy FILE" says what would go wrong.`
