package mcp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/keyturn/keyturn/mcp"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

func Example() {
	// Somebody's MCP server, with one tool.
	type place struct {
		City string `json:"city"`
	}
	server := sdk.NewServer(&sdk.Implementation{Name: "weather", Version: "1"}, nil)
	sdk.AddTool(server, &sdk.Tool{Name: "now", Description: "Tells the weather."},
		func(_ context.Context, _ *sdk.CallToolRequest, p place) (*sdk.CallToolResult, any, error) {
			return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: p.City + ": sunny"}}}, nil, nil
		})
	web := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil))
	defer web.Close()

	catalogue, err := mcp.New(mcp.Config{Servers: []mcp.Server{{Name: "weather", URL: web.URL}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = catalogue.Close() }()
	ctx := context.Background()
	for _, tool := range catalogue.Tools(ctx, []string{"weather"}) {
		fmt.Println(tool.ModelName, "-", tool.Description)
	}
	result, err := catalogue.Call(ctx, "weather", "now", []byte(`{"city":"Nice"}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.Content[0].Text)
	// Output:
	// bmcp_weather_now - Tells the weather.
	// Nice: sunny
}

func ExampleError() {
	// A program that is no MCP server. What a caller does about it depends on whether the tool may have run.
	catalogue, err := mcp.New(mcp.Config{Servers: []mcp.Server{{Name: "notes", Command: []string{"/nonexistent/notes-server"}}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = catalogue.Close() }()
	_, err = catalogue.Call(context.Background(), "notes", "append", []byte(`{"text":"buy milk"}`))
	var failed *mcp.Error
	if errors.As(err, &failed) {
		fmt.Println(failed.Kind, "may have run:", failed.Ran)
		fmt.Println(failed)
	}
	// Output:
	// unreachable may have run: false
	// MCP server "notes", tool "append": the server's program cannot be started: no such file or directory
}
