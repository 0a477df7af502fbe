package sse_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/keyturn/keyturn/sse"
)

// A relay rewrites one event and forwards all other bytes as they came, comments and line ends included.
func Example() {
	var out []byte
	relay := sse.NewDecoder(sse.Limits{}, func(e *sse.Event) error {
		if e.Dispatched && !e.Truncated && string(e.Type) == "greeting" {
			out = sse.AppendEvent(out, "greeting", bytes.ToUpper(e.Data))
			return nil
		}
		out = append(out, e.Raw...) // copied: the bytes are not ours when this returns
		return nil
	})
	for _, piece := range []string{": hel", "lo\n\nevent: greeting\nda", "ta: good\ndata: morning\n", "\ndata:[DONE]\n\n"} {
		if n, err := relay.Write([]byte(piece)); err != nil {
			out = append(append(out, relay.Held()...), piece[n:]...) // go on without looking inside
			break
		}
	}
	if err := relay.Close(); err != nil {
		fmt.Println(err)
	}
	_, _ = os.Stdout.Write(out)

	// Output:
	// : hello
	//
	// event: greeting
	// data: GOOD
	// data: MORNING
	//
	// data:[DONE]
}

// Who wants to pull reads events in a loop, here those of a model's answer.
func ExampleRead() {
	body := strings.NewReader("data: {\"delta\":\"Good \"}\n\n: a comment\n\ndata: {\"delta\":\"morning\"}\n\ndata: [DONE]\n\n")
	for event, err := range sse.Read(body, sse.Limits{}) {
		if err != nil {
			fmt.Println("the answer broke off:", err)
			return
		}
		if string(event.Data) == "[DONE]" {
			break
		}
		fmt.Printf("%s\n", event.Data)
	}

	// Output:
	// {"delta":"Good "}
	// {"delta":"morning"}
}
