package slowclients

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// Ask is one request of a client's, and what must come back.
type Ask struct {
	Pool    string // default: the only one
	Dialect string // "chat", "messages" or "responses"; default: chat
	Stream  bool   // the answer is a stream
	Bytes   int    // of the answer, about
	Refusal string // how the provider refuses the keys that BadKey knows: "", "chunked", or "whole", with a length

	Want   int    // status; default: 200
	Code   string // what must stand in x-keyturn-error. Without one, every byte of the provider's answer must come
	Marker string // names the ask, and stands in its answer; set by Client.Run
}

// asked names asks: no two answers are equal.
var asked atomic.Int64

// askHeader has the ask, for the provider.
const askHeader = "X-Ask"

func (a Ask) named() Ask {
	a.Dialect = cmp.Or(a.Dialect, "chat")
	a.Marker = fmt.Sprintf("marker-%d-end", asked.Add(1))
	a.Want = cmp.Or(a.Want, http.StatusOK)
	return a
}

var paths = map[string]string{"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}

// request is the ask as a client sends it.
func (a Ask) request(base string) (*http.Request, error) {
	body := fmt.Sprintf(`{"model":"m","stream":%t,"max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`, a.Stream)
	if a.Dialect == "responses" {
		body = fmt.Sprintf(`{"model":"m","stream":%t,"input":"hi"}`, a.Stream)
	}
	if a.Pool != "" {
		base += "/" + a.Pool
	}
	ask, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequest(http.MethodPost, base+paths[a.Dialect], strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(askHeader, string(ask))
	return req, nil
}

// check reads an answer to its end and says what is wrong with it.
func (a Ask) check(resp *http.Response) error {
	defer resp.Body.Close()
	if resp.StatusCode != a.Want || resp.Header.Get("X-Keyturn-Error") != a.Code {
		start, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("status %d, x-keyturn-error %q, want %d, %q: %s", resp.StatusCode, resp.Header.Get("X-Keyturn-Error"), a.Want, a.Code, start)
	}
	if a.Code != "" { // Keyturn's own, which is short
		b, err := io.ReadAll(resp.Body)
		if err == nil && len(b) > 10_000 {
			err = fmt.Errorf("%s of %d bytes", a.Code, len(b))
		}
		return err
	}
	want := a.answer()
	if resp.StatusCode != http.StatusOK {
		want = a.refusal()
	}
	return same(resp.Body, want)
}

// same reads got to its end and says where it differs from want.
func same(got, want io.Reader) error {
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for read := 0; ; {
		n, err := got.Read(a)
		m, _ := io.ReadFull(want, b[:n])
		if !bytes.Equal(a[:n], b[:m]) {
			i := 0
			for i < m && a[i] == b[i] {
				i++
			}
			return fmt.Errorf("byte %d: got %q, want %q", read+i, a[i:min(n, i+80)], b[i:min(m, i+80)])
		}
		read += n
		if errors.Is(err, io.EOF) {
			if m, _ := want.Read(b[:1]); m > 0 {
				return fmt.Errorf("ended after %d bytes, before its end", read)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", read, err)
		}
	}
}

// What models say: the head of an answer, with the marker in it, one delta of it, and the tail.
type speech struct{ head, delta, tail string }

// Of an answer that is whole, the delta stands within a string.
var whole = map[string]speech{
	"chat": {
		`{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"%s `, "x",
		`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`,
	},
	"messages": {
		`{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"%s `, "x",
		`"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}`,
	},
	"responses": {
		`{"id":"r","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"i","status":"completed","role":"assistant","content":[{"type":"output_text","annotations":[],"text":"%s `,
		"x", `"}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`,
	},
}

var streams = map[string]speech{
	"chat":      {chatChunk("%s", "null"), chatChunk(" some words more", "null"), chatChunk("", `"stop"`) + "data: [DONE]\n\n"},
	"messages":  {messagesHead, messagesDelta, messagesTail},
	"responses": {responsesHead, responsesDelta, responsesTail},
}

func chatChunk(text, finish string) string {
	return fmt.Sprintf(`data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":%s}]}`, text, finish) + "\n\n"
}

const (
	messagesHead = `event: message_start
data: {"type":"message_start","message":{"id":"%s","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

`
	messagesDelta = `event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" some words more"}}

`
	messagesTail = `event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":1}}

event: message_stop
data: {"type":"message_stop"}

`
	responsesHead = `event: response.created
data: {"type":"response.created","sequence_number":0,"response":{"id":"%s","object":"response","status":"in_progress","model":"m","output":[]}}

event: response.output_item.added
data: {"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"message","id":"i","status":"in_progress","role":"assistant","content":[]}}

`
	responsesDelta = `event: response.output_text.delta
data: {"type":"response.output_text.delta","sequence_number":2,"item_id":"i","output_index":0,"content_index":0,"delta":" some words more"}

`
	responsesTail = `event: response.output_item.done
data: {"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":{"type":"message","id":"i","status":"completed","role":"assistant","content":[]}}

event: response.completed
data: {"type":"response.completed","sequence_number":4,"response":{"id":"r","object":"response","status":"completed","model":"m","output":[],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}}

`
)

// answer is a good answer to the ask.
func (a Ask) answer() io.Reader {
	if a.Stream {
		return a.said(streams[a.Dialect])
	}
	return a.said(whole[a.Dialect])
}

// refusal is the answer to a key that is refused.
func (a Ask) refusal() io.Reader {
	return a.said(speech{`{"error":{"type":"requests","code":"rate_limit_exceeded","message":"%s `, "x", `"}}`})
}

// said makes a speech as long as the ask wants it, but for the rest of a delta.
func (a Ask) said(s speech) io.Reader {
	head := fmt.Sprintf(s.head, a.Marker)
	left := max(0, a.Bytes-len(head)-len(s.tail))
	return io.MultiReader(strings.NewReader(head), &repeated{deltas(s.delta), 0, left - left%len(s.delta)}, strings.NewReader(s.tail))
}

// deltas are enough of one delta to be copied at once.
func deltas(one string) []byte { return bytes.Repeat([]byte(one), 64<<10/len(one)) }

// repeated reads the same block again and again.
type repeated struct {
	block    []byte
	at, left int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n = copy(p, r.block[r.at:min(len(r.block), r.at+r.left)])
	r.at, r.left = (r.at+n)%len(r.block), r.left-n
	return n, nil
}

// length is how many bytes a reader has.
func length(r io.Reader) int64 {
	n, _ := io.Copy(io.Discard, r) // it fails only where r does
	return n
}

// BadKey reports whether the provider refuses a key, where the ask wants a refusal.
func BadKey(key string) bool { return strings.HasPrefix(key, "bad-") }

// Dialects are the names of the dialects.
func Dialects() []string {
	return slices.Sorted(slices.Values([]string{"chat", "messages", "responses"}))
}
