package attach

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/keyturn/keyturn/envoy/internal/document"
)

// value is what is put into a file, as JSON in the order of Envoy's documentation.
type value []byte

// valueOf is a message as a value.
func valueOf(m proto.Message) (value, error) {
	j, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = json.Compact(&b, j) // protojson's spaces are random on purpose
	return numbers64.ReplaceAll(b.Bytes(), []byte(`$1:$2`)), err
}

// numbers64 are the 64-bit fields of what is put in. Protobuf's JSON has them as strings, and Envoy takes them as numbers too.
var numbers64 = regexp.MustCompile(`("request_body_buffer_limit"):"([0-9]+)"`)

// word is a string as a value.
func word(s string) value {
	j, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic(err) // names of ours, and what was read from UTF-8
	}
	return j
}

// members are the fields of a mapping, in their order.
func (v value) members() (names []string, values []value, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(v))
	if _, err = d.ReadToken(); err != nil {
		return nil, nil, err
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, nil, err
		}
		text := name.String()
		one, err := d.ReadValue()
		if err != nil {
			return nil, nil, err
		}
		names, values = append(names, text), append(values, bytes.Clone(one))
	}
	return names, values, nil
}

// member is one of the fields, nil without it.
func (v value) member(path ...string) value {
	for _, step := range path {
		names, values, err := v.members()
		v = nil
		for i, name := range names {
			if err == nil && name == step {
				v = values[i]
			}
		}
	}
	return v
}

// elements are those of a list.
func (v value) elements() (all []value, err error) {
	var raw []json.RawMessage
	if err = json.Unmarshal(v, &raw); err != nil {
		return nil, err
	}
	for _, r := range raw {
		all = append(all, value(r))
	}
	return all, nil
}

// entry is a field in lines of YAML.
func (v value) entry(name string) (string, error) {
	one, err := value("{" + string(word(name)) + ":" + string(v) + "}").block()
	if inner, ok := strings.CutPrefix(one, "{"); ok { // it fits on one line
		one = strings.TrimSuffix(inner, "}")
	}
	return one, err
}

// block is a value in lines of YAML, without an indentation and without a newline at the end.
func (v value) block() (string, error) {
	out, err := document.Marshal([]document.Document{{JSON: v}}, nil)
	return strings.TrimRight(string(out), "\n"), err
}

// flowed is a value on one line, for YAML and JSON.
func (v value) flowed() string {
	out, err := jsontext.AppendFormat(nil, v, jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true))
	if err != nil {
		return string(v)
	}
	return string(out)
}

// plainJSON is a value without its order.
func plainJSON(j []byte) (v any, err error) {
	if err = json.Unmarshal(j, &v); err != nil {
		return nil, fmt.Errorf("JSON: %w", err)
	}
	return v, nil
}
