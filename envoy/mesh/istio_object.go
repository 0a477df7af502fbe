package mesh

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/keyturn/keyturn/envoy/internal/document"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// object is a JSON object whose fields keep their order. A field with the value nil is left out.
type object []field

type field struct {
	name  string
	value any
}

// MarshalJSON writes the fields in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for _, f := range o {
		if f.value == nil {
			continue
		}
		name, err := json.Marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(f.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// message is one of Envoy's within an object, with the names of its fields as Envoy's documentation has them.
type message struct{ proto.Message }

// MarshalJSON is protobuf's.
func (m message) MarshalJSON() ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true}.Marshal(m.Message)
}

// resource is a document for Kubernetes.
type resource struct {
	comment string
	object
}

// marshalObjects writes resources as YAML.
func marshalObjects(resources []resource, comments map[string]string) ([]byte, error) {
	var docs []document.Document
	for _, r := range resources {
		j, err := json.Marshal(r.object)
		if err != nil {
			return nil, fmt.Errorf("resources: %w", err)
		}
		docs = append(docs, document.Document{Comment: r.comment, JSON: j})
	}
	out, err := document.Marshal(docs, comments)
	if err != nil {
		return nil, fmt.Errorf("resources: %w", err)
	}
	return out, nil
}

// meta is the metadata of a resource.
func meta(name, namespace string) object { return object{{"name", name}, {"namespace", namespace}} }
