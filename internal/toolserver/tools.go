package toolserver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// handler is the code of a tool.
type handler = sdk.ToolHandler

type tool struct {
	tool *sdk.Tool
	run  handler
}

// maxBytes bounds what big answers.
const maxBytes = 64 << 20

// pixel is the smallest PNG: one pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// catalogue returns the tools.
func (s *Server) catalogue() []tool {
	const none = `{"type":"object","properties":{}}`
	reads := &sdk.ToolAnnotations{ReadOnlyHint: true}
	return []tool{
		s.tool("add", "Adds two numbers.", `{"type":"object",
			"properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}`, reads, add),
		s.tool("big", "Answers with a text of so many bytes.", `{"type":"object","properties":{"bytes":{"type":"integer"}},"required":["bytes"]}`, reads, big),
		s.tool("count", "Counts how often it was called: it has an effect.", none, nil, s.counted),
		s.tool("echo", "Answers with the text it was given.", `{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}`, reads, echo),
		s.tool("fail", "Fails with the message.", `{"type":"object","properties":{"message":{"type":"string"}}}`, reads, fail),
		s.tool("image", "Answers with an image of one pixel.", none, reads, image),
		s.tool("resource", "Answers with a resource and a link to one.", none, reads, resource),
		s.tool("sleep", "Sleeps for so many seconds.", `{"type":"object","properties":{"seconds":{"type":"number"}},"required":["seconds"]}`, reads, s.sleep),
		s.tool("structured", "Answers with structured content.", none, reads, structured),
		s.tool("weather", "Tells the weather in a city.", `{"type":"object",
			"properties":{"city":{"type":"string","description":"name of the city"}},"required":["city"],"additionalProperties":false}`, reads, weather),
	}
}

func (s *Server) tool(name, description, schema string, notes *sdk.ToolAnnotations, run handler) tool {
	return tool{
		tool: &sdk.Tool{Name: name, Description: description, InputSchema: json.RawMessage(schema), Annotations: notes},
		run:  s.recorded(name, run),
	}
}

// named returns a tool that answers with its name.
func (s *Server) named(name, description string) tool {
	run := func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) { return text(name), nil }
	return s.tool(name, description, `{"type":"object","properties":{}}`, nil, run)
}

func text(s string) *sdk.CallToolResult {
	return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: s}}}
}

// problem is a failure that the model reads.
func problem(s string) *sdk.CallToolResult {
	r := text(s)
	r.IsError = true
	return r
}

// read decodes the arguments; what is wrong with them is for the model to read.
func read(req *sdk.CallToolRequest, to any) *sdk.CallToolResult {
	if err := json.Unmarshal(req.Params.Arguments, to); err != nil {
		return problem("the arguments do not fit the tool's schema")
	}
	return nil
}

func add(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var args struct{ A, B float64 }
	if bad := read(req, &args); bad != nil {
		return bad, nil
	}
	return text(fmt.Sprint(args.A + args.B)), nil
}

// weather is made up from the city's name: always the same for the same city.
func weather(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var args struct{ City string }
	if bad := read(req, &args); bad != nil {
		return bad, nil
	}
	if args.City == "" {
		return problem("which city?"), nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(strings.ToLower(args.City)))
	skies := []string{"sunny", "cloudy", "rainy", "windy", "foggy"}
	n := h.Sum32()
	return text(fmt.Sprintf("%s: %s, %d °C", args.City, skies[n%uint32(len(skies))], 5+n/8%25)), nil
}

func echo(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var args struct{ Text string }
	if bad := read(req, &args); bad != nil {
		return bad, nil
	}
	return text(args.Text), nil
}

func fail(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var args struct{ Message string }
	if bad := read(req, &args); bad != nil {
		return bad, nil
	}
	return problem(args.Message), nil
}

// sleep tells of its progress, when it was asked to, four times a second.
func (s *Server) sleep(ctx context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var args struct{ Seconds float64 }
	if bad := read(req, &args); bad != nil {
		return bad, nil
	}
	over := time.NewTimer(time.Duration(args.Seconds * float64(time.Second)))
	defer over.Stop()
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-over.C:
			return text("awake"), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-s.life.Done():
			return nil, errors.New("the server is shutting down")
		case <-tick.C:
			if token := req.Params.GetProgressToken(); token != nil {
				_ = req.Session.NotifyProgress(ctx, &sdk.ProgressNotificationParams{
					ProgressToken: token, Progress: float64(n) / 4, Total: args.Seconds,
				})
			}
		}
	}
}

func image(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	data, err := base64.StdEncoding.DecodeString(pixel)
	return &sdk.CallToolResult{Content: []sdk.Content{
		&sdk.TextContent{Text: "one pixel"}, &sdk.ImageContent{Data: data, MIMEType: "image/png"},
	}}, err
}

func resource(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	return &sdk.CallToolResult{Content: []sdk.Content{
		&sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: "demo://notes/1", MIMEType: "text/plain", Text: "a note"}},
		&sdk.EmbeddedResource{Resource: &sdk.ResourceContents{URI: "demo://blobs/1", MIMEType: "application/octet-stream", Blob: []byte{0, 1, 2}}},
		&sdk.ResourceLink{URI: "demo://notes/2", Name: "another note", MIMEType: "text/plain", Description: "to be fetched"},
	}}, nil
}

// structured holds what a decoding into maps would lose: the order of keys, and an integer over 2^53.
func structured(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	return &sdk.CallToolResult{Content: []sdk.Content{}, StructuredContent: json.RawMessage(`{"z":1,"a":{"big":9007199254740993}}`)}, nil
}

func big(_ context.Context, req *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	var args struct{ Bytes int }
	if bad := read(req, &args); bad != nil {
		return bad, nil
	}
	if args.Bytes < 0 || args.Bytes > maxBytes {
		return problem(fmt.Sprintf("0 to %d bytes", maxBytes)), nil
	}
	return text(strings.Repeat("x", args.Bytes)), nil
}

// counted answers with the number of its calls so far, this one among them.
func (s *Server) counted(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
	return text(fmt.Sprint(len(s.Calls("count")))), nil
}
